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

    /// As a `table` with a `tabular` that needs no package.
    pub fn latex(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| latex(cell)).collect();
            format!("{} \\\\\n", cells.join(" & "))
        };
        let columns: String = (0..self.head.len()).map(|i| if i < self.texts { 'l' } else { 'r' }).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!(
            "\\begin{{table}}\n\\centering\n\\caption{{{}. {}}}\n\\label{{tab:{}}}\n\\begin{{tabular}}{{{columns}}}\n\
             \\hline\n{}\\hline\n{rows}\\hline\n\\end{{tabular}}\n\\end{{table}}\n\n",
            latex(self.title),
            latex(&self.note),
            self.key,
            line(&self.head)
        )
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
}
