//! Messages of the TraX protocol: one line each, `@@TRAX:<type> "argument" "key=value"`. No IO here.
//!
//! Arguments are separated by spaces, quoted or bare, with the escapes `\"`, `\\` and `\n`. An argument that begins with
//! `key=`, the key being letters, digits, dots and underscores, is a property; any other `=` is data. A line that does
//! not begin with the prefix is chatter of the other program and means nothing.

use std::collections::BTreeMap;

const PREFIX: &[u8] = b"@@TRAX:";
/// Longest key of a property; what is longer is data.
const KEY: usize = 64;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server says what it can do.
    Hello,
    /// A target to track.
    Initialize,
    /// The next picture.
    Frame,
    /// Where a target is.
    State,
    /// The end.
    Quit,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Hello => "hello",
            Kind::Initialize => "initialize",
            Kind::Frame => "frame",
            Kind::State => "state",
            Kind::Quit => "quit",
        }
    }

    fn parse(name: &[u8]) -> Option<Kind> {
        let is = |kind: &Kind| kind.name().as_bytes().eq_ignore_ascii_case(name);
        let all = [Kind::Hello, Kind::Initialize, Kind::Frame, Kind::State, Kind::Quit];
        all.into_iter().find(is).or_else(|| name.eq_ignore_ascii_case(b"status").then_some(Kind::State))
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is about.
    pub kind: Kind,
    /// Its arguments, as bytes: paths need not be text.
    pub arguments: Vec<Vec<u8>>,
    /// Its properties.
    pub properties: BTreeMap<String, Vec<u8>>,
}

/// Why a line with the prefix is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The type is unknown.
    #[error("unknown message type `{0}`")]
    Kind(String),
    /// A quoted argument does not end, or what follows it is no space.
    #[error("argument {0} is not quoted properly")]
    Quote(usize),
}

impl Message {
    /// A message without arguments.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Message { kind, arguments: Vec::new(), properties: BTreeMap::new() }
    }

    /// With one more argument.
    #[must_use]
    pub fn argument(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.arguments.push(value.into());
        self
    }

    /// With one more property.
    #[must_use]
    pub fn property(mut self, key: &str, value: impl Into<Vec<u8>>) -> Self {
        self.properties.insert(key.to_owned(), value.into());
        self
    }

    /// Reads a line, without its newline. `None` where it is no message.
    ///
    /// # Errors
    /// [`MessageError`] when the line has the prefix but is no message.
    pub fn parse(line: &[u8]) -> Result<Option<Message>, MessageError> {
        let Some(rest) = line.strip_prefix(PREFIX) else { return Ok(None) };
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let (name, mut rest) = rest.split_at(end);
        let kind = Kind::parse(name).ok_or_else(|| MessageError::Kind(String::from_utf8_lossy(name).into_owned()))?;
        let mut message = Message::new(kind);
        let mut number = 0;
        loop {
            rest = rest.trim_ascii_start();
            if rest.is_empty() {
                return Ok(Some(message));
            }
            number += 1;
            let value = take(&mut rest).ok_or(MessageError::Quote(number))?;
            match property(&value) {
                Some((key, value)) => message.properties.insert(key, value),
                None => {
                    message.arguments.push(value);
                    None
                }
            };
        }
    }

    /// The line, with its newline.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let mut line = [PREFIX, self.kind.name().as_bytes(), b" "].concat();
        let properties = self.properties.iter().map(|(key, value)| [key.as_bytes(), b"=", value].concat());
        for value in self.arguments.iter().cloned().chain(properties) {
            line.push(b'"');
            for byte in value {
                match byte {
                    b'"' => line.extend(b"\\\""),
                    b'\\' => line.extend(b"\\\\"),
                    b'\n' => line.extend(b"\\n"),
                    other => line.push(other),
                }
            }
            line.extend(b"\" ");
        }
        line.push(b'\n');
        line
    }
}

/// Takes one argument off the front.
fn take(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let quoted = rest.first() == Some(&b'"');
    let mut bytes = rest.iter().enumerate().skip(usize::from(quoted));
    let mut value = Vec::new();
    let end = loop {
        match bytes.next() {
            Some((at, b'"')) if quoted => break at + 1,
            Some((at, byte)) if !quoted && byte.is_ascii_whitespace() => break at,
            Some((_, b'\\')) => match bytes.next()?.1 {
                b'n' => value.push(b'\n'),
                other => value.push(*other),
            },
            Some((_, byte)) => value.push(*byte),
            None if quoted => return None,
            None => break rest.len(),
        }
    };
    let after = rest.get(end..)?;
    if after.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
        return None;
    }
    *rest = after;
    Some(value)
}

/// Splits `key=value`.
fn property(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let at = value.iter().position(|byte| *byte == b'=')?;
    let (key, rest) = value.split_at(at);
    let plain = key.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'));
    if key.is_empty() || key.len() > KEY || !plain {
        return None;
    }
    Some((String::from_utf8_lossy(key).into_owned(), rest.get(1..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(line: &str) -> Message {
        Message::parse(line.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn messages_of_the_official_client_are_read() {
        let frame = parse("@@TRAX:frame \"file:///data/a b.jpg\" \"time=0.5\" ");
        assert_eq!((frame.kind, frame.arguments), (Kind::Frame, vec![b"file:///data/a b.jpg".to_vec()]));
        assert_eq!(frame.properties["time"], b"0.5");
        let bare = parse("@@TRAX:INITIALIZE file:///x.png 1,2,3,4\r");
        assert_eq!(bare.arguments, [&b"file:///x.png"[..], b"1,2,3,4"]);
        assert_eq!(parse("@@TRAX:status \"1,2,3,4\"").kind, Kind::State);
        assert_eq!(parse("@@TRAX:quit").arguments.len(), 0);
        let data = parse(r#"@@TRAX:frame "data:image/png;AAA=" "say=a \"b\" \\ c\n""#);
        assert_eq!(data.arguments, [b"data:image/png;AAA="]);
        assert_eq!(data.properties["say"], b"a \"b\" \\ c\n");
        assert_eq!(Message::parse(b"loading weights"), Ok(None));
        assert_eq!(Message::parse(b" @@TRAX:quit"), Ok(None));
    }

    #[test]
    fn broken_lines_are_refused() {
        assert_eq!(Message::parse(b"@@TRAX:jump"), Err(MessageError::Kind("jump".to_owned())));
        assert_eq!(Message::parse(b"@@TRAX:frame \"a\" \"b"), Err(MessageError::Quote(2)));
        assert_eq!(Message::parse(b"@@TRAX:frame \"a\"b"), Err(MessageError::Quote(1)));
        assert_eq!(Message::parse(b"@@TRAX:frame \"a\\"), Err(MessageError::Quote(1)));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            arguments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..4),
            value in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            // Bytes that are a property by themselves come back as one.
            prop_assume!(arguments.iter().all(|a| property(a).is_none()));
            let mut message = Message::new(Kind::State).property("confidence", value);
            message.arguments = arguments;
            let line = message.line();
            prop_assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
            prop_assert_eq!(Message::parse(line.strip_suffix(b"\n").unwrap()), Ok(Some(message)));
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _read = Message::parse(&[PREFIX, b"frame ", &bytes].concat());
        }
    }
}
