//! A table in HTML, Markdown and LaTeX. Cells are plain text; each form escapes what would mean something in it.

use shards::card::escape;
use std::fmt::Write as _;

/// A table of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What it is called in links and labels; letters only.
    pub key: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What to know when reading it.
    pub note: String,
    /// Heads of the columns.
    pub head: Vec<String>,
    /// Columns of text, from the left; the others are numbers.
    pub texts: usize,
    /// The rows, as long as the head.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// As HTML that the page's script can sort by any column.
    pub fn html(&self) -> String {
        let class = |column: usize| if column < self.texts { "" } else { " class=\"n\"" };
        let mut out = format!("<div class=\"wide\"><table class=\"sort\" id=\"{}\"><thead><tr>", self.key);
        for (i, name) in self.head.iter().enumerate() {
            // Writing into a String cannot fail.
            _ = write!(out, "<th{} scope=\"col\"><button type=\"button\">{}</button></th>", class(i), escape(name));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for row in &self.rows {
            out.push_str("<tr>");
            for (i, cell) in row.iter().enumerate() {
                // The two ends of an interval stay on one line.
                let cell = if i < self.texts { escape(cell) } else { escape(cell).replace(", ", ",&nbsp;") };
                _ = write!(out, "<td{}>{cell}</td>", class(i));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div>\n");
        out
    }

    /// As a pipe table.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: String = cells.iter().map(|cell| format!(" {} |", markdown(cell))).collect();
            format!("|{cells}\n")
        };
        let rule: String = (0..self.head.len()).map(|i| if i < self.texts { "---|" } else { "---:|" }).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("## {}\n\n{}\n\n{}|{rule}\n{rows}\n", self.title, markdown(&self.note), line(&self.head))
    }

    /// As `table`s with a `tabular` that need no package; a long one goes on in further tables, because a float cannot
    /// be broken over pages.
    pub fn latex(&self) -> String {
        let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
        let columns: String = (0..self.head.len()).map(|i| if i < self.texts { 'l' } else { 'r' }).collect();
        let head = line(self.head.iter().map(|name| latex_head(name)).collect());
        let wide = self.head.len() > LATEX_COLUMNS;
        let mut out = String::new();
        for (part, rows) in self.rows.chunks(LATEX_ROWS).enumerate() {
            let rows: String =
                rows.iter().map(|row| line(row.iter().map(|cell| latex_cell(cell, wide)).collect())).collect();
            let note = if part == 0 { latex(&self.note) } else { "Continued.".to_owned() };
            let label = if part == 0 { format!("\\label{{tab:{}}}\n", self.key) } else { String::new() };
            // Writing into a String cannot fail.
            _ = write!(
                out,
                "\\begin{{table}}\n\\centering\\footnotesize\n\\setlength{{\\tabcolsep}}{{3pt}}\n\\caption{{{}. {note}}}\n\
                 {label}\\begin{{tabular}}{{{columns}}}\n\\hline\n{head}\\hline\n{rows}\\hline\n\\end{{tabular}}\n\
                 \\end{{table}}\n\n",
                latex(self.title),
            );
        }
        out
    }
}

/// Rows of a LaTeX table that fit on a page.
const LATEX_ROWS: usize = 45;
/// Columns above which intervals stand below their numbers.
const LATEX_COLUMNS: usize = 5;
/// Characters after which the head of a LaTeX column goes on in a new line.
const LATEX_HEAD: usize = 14;

/// The head of a column: lines of a few words, and arrows for what is better.
fn latex_head(text: &str) -> String {
    let plain = text.replace(" (higher is better)", " \u{2191}").replace(" (lower is better)", " \u{2193}");
    let mut lines: Vec<String> = Vec::new();
    for word in plain.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < LATEX_HEAD => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    stack(&lines, 'b').replace('\u{2191}', "$\\uparrow$").replace('\u{2193}', "$\\downarrow$")
}

/// A cell; in a wide table the interval of a number stands below it.
fn latex_cell(text: &str, wide: bool) -> String {
    match text.split_once(" [") {
        Some((value, interval)) if wide && interval.ends_with(']') && value.parse::<f64>().is_ok() => {
            stack(&[value.to_owned(), format!("[{interval}")], 't')
        }
        _ => latex(text),
    }
}

/// Lines above each other, the first (`t`) or the last (`b`) on the line of the row.
fn stack(lines: &[String], on: char) -> String {
    let lines: Vec<String> = lines.iter().map(|line| latex(line)).collect();
    match lines.as_slice() {
        [line] => line.clone(),
        lines => format!("\\begin{{tabular}}[{on}]{{@{{}}r@{{}}}}{}\\end{{tabular}}", lines.join("\\\\")),
    }
}

/// Text as Markdown shows it, on one line and in a table's cell.
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Text as LaTeX shows it.
pub fn latex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '"' => out.push_str("''"),
            // No ligatures: two hyphens would become a dash.
            '-' => out.push_str("{-}"),
            // As the first thing in a row it would be the option of the line break before it.
            '[' => out.push_str("{[}"),
            ']' => out.push_str("{]}"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_mean_nothing() {
        let name = "<script>&_%|\\$#{}~^*`[x]\n\"";
        let table = Table {
            key: "t",
            title: "T",
            note: String::new(),
            head: vec!["name".into(), "A".into()],
            texts: 1,
            rows: vec![vec![name.into(), "1".into()]],
        };
        let html = table.html();
        assert!(html.contains("&lt;script&gt;&amp;_%") && !html.contains("<script>"), "{html}");
        let md = table.markdown();
        assert!(md.contains(r"| &lt;script&gt;&amp;\_%\|\\\$\#{}\~^\*\`\[x\] "), "{md}");
        assert_eq!(md.lines().count(), 8, "{md}");
        let tex = table.latex();
        let cell = r"\textless{}script\textgreater{}\&\_\%\textbar{}\textbackslash{}\$\#\{\}\textasciitilde{}\textasciicircum{}*`{[}x{]} '' & 1 \\";
        assert!(tex.contains(cell), "{tex}");
    }

    #[test]
    fn latex_tables_fit_a_page() {
        let row = |i: usize| vec![format!("s{i}"), "0.5 [0.4, 0.6]".to_owned()];
        let mut table = Table {
            key: "t",
            title: "T",
            note: "N.".into(),
            head: vec!["name".into(), "Failures per 100 frames (lower is better)".into()],
            texts: 1,
            rows: (0..60).map(row).collect(),
        };
        let tex = table.latex();
        assert_eq!(tex.matches("\\begin{table}").count(), 2, "{tex}");
        assert_eq!((tex.matches("\\label{tab:t}").count(), tex.matches("Continued.").count()), (1, 1), "{tex}");
        let head = r"name & \begin{tabular}[b]{@{}r@{}}Failures per\\100 frames $\downarrow$\end{tabular} \\";
        assert!(tex.contains(head), "{tex}");
        assert!(tex.contains(r"s59 & 0.5 {[}0.4, 0.6{]} \\"), "{tex}");
        table.head.extend(["a", "b", "c", "d"].map(String::from));
        let tex = table.latex();
        assert!(tex.contains(r"s59 & \begin{tabular}[t]{@{}r@{}}0.5\\{[}0.4, 0.6{]}\end{tabular} \\"), "{tex}");
    }
}
