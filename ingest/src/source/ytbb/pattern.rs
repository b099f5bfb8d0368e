//! How the user named the extracted frames.

use super::Mark;

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Split,
    Id,
    Ms,
    Seconds,
    Class,
    Object,
}

const FIELDS: [(&str, Field); 6] = [
    ("split", Field::Split),
    ("id", Field::Id),
    ("ms", Field::Ms),
    ("s", Field::Seconds),
    ("class", Field::Class),
    ("object", Field::Object),
];

/// A checked pattern such as `{split}/{id}/{s:06}.jpg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, behind) = after.split_once('}').ok_or_else(|| format!("{text:?} has a {{ without }}"))?;
            let (name, width) = field.split_once(":0").map_or((field, Some(0)), |(name, n)| (name, n.parse().ok()));
            let known = FIELDS.iter().find(|(known, _)| *known == name).zip(width.filter(|n| *n <= 20));
            let Some(((_, field), width)) = known else {
                let names = FIELDS.map(|(name, _)| format!("{{{name}}}")).join(" ");
                return Err(format!("{{{field}}} is none of {names}, or {{s:06}} for six digits"));
            };
            parts.extend([Part::Text(before.to_owned()), Part::Field(*field, width)]);
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        let pattern = Self(parts);
        let filled = pattern.fill("split", "id", &Mark::default());
        if !crate::source::plain_path(&filled) || text.contains('}') && !text.contains('{') {
            return Err(format!("{text:?} is not a path below the source's folder"));
        }
        let has = |fields: &[Field]| pattern.0.iter().any(|p| matches!(p, Part::Field(f, _) if fields.contains(f)));
        if !has(&[Field::Id]) || !has(&[Field::Ms, Field::Seconds]) {
            return Err(format!(
                "{text:?} must have {{id}} and one of {{ms}} and {{s}}, or frames cannot be told apart"
            ));
        }
        Ok(pattern)
    }

    /// The path of a frame.
    pub(super) fn fill(&self, split: &str, id: &str, mark: &Mark) -> String {
        let mut path = String::with_capacity(80);
        for part in &self.0 {
            let (value, width) = match part {
                Part::Text(text) => (text.clone(), &0),
                Part::Field(field, width) => match field {
                    Field::Split => (split.to_owned(), width),
                    Field::Id => (id.to_owned(), width),
                    Field::Ms => (mark.ms.to_string(), width),
                    Field::Seconds => ((mark.ms / 1000).to_string(), width),
                    Field::Class => (mark.class.to_string(), width),
                    Field::Object => (mark.object.to_string(), width),
                },
            };
            path.extend(std::iter::repeat_n('0', width.saturating_sub(value.len())));
            path.push_str(&value);
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_in() {
        let mark = Mark { ms: 238_500, class: 7, object: 12, ..Mark::default() };
        let fill = |text: &str| Pattern::parse(text).unwrap().fill("train", "-a_b", &mark);
        assert_eq!(
            fill("yt_bb_detection_{split}/{class}/{id}_{ms}_{class}_{object}.jpg"),
            "yt_bb_detection_train/7/-a_b_238500_7_12.jpg"
        );
        assert_eq!(fill("{id}/{s:06}.{object:02}.png"), "-a_b/000238.12.png");
    }

    #[test]
    fn wrong_patterns_are_explained() {
        for (text, needle) in [
            ("{id}/{frame}.jpg", "{frame} is none of {split}"),
            ("{id}/{ms:x}.jpg", "is none of"),
            ("{id}/{ms:099}.jpg", "is none of"),
            ("{id/{ms}.jpg", "is none of"),
            ("{id}/{ms.jpg", "without }"),
            ("/data/{id}/{ms}.jpg", "below"),
            ("../{id}/{ms}.jpg", "below"),
            ("{id}.jpg", "must have"),
            ("{ms}.jpg", "must have"),
            ("", "below"),
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert!(error.contains(needle), "{text}: {error}");
        }
    }
}
