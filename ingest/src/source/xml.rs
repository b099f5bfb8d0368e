//! Annotations of one picture in XML, as ImageNet VID and DET have them: size, and objects with a box.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Largest annotation file accepted, in bytes.
pub(super) const MAX_XML_BYTES: u64 = 1 << 20;
/// Elements nest four deep in a real file.
const MAX_DEPTH: usize = 32;

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Annotation {
    /// Width and height of the picture, px, where both are given.
    pub size: Option<[f64; 2]>,
    /// Its objects in order.
    pub objects: Vec<Object>,
}

/// One object as written, not judged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object {
    /// Number of the object's track, empty when there is none.
    pub track: String,
    /// Class: a WordNet id.
    pub class: String,
    /// Is it marked as occluded?
    pub occluded: bool,
    /// Is its box interpolated?
    pub generated: bool,
    /// xmin, ymin, xmax, ymax; not a number where one is missing or is none.
    pub bounds: [f64; 4],
}

impl Default for Object {
    fn default() -> Self {
        let (track, class) = (String::new(), String::new());
        Self { track, class, occluded: false, generated: false, bounds: [f64::NAN; 4] }
    }
}

/// Reads a file's bytes.
///
/// # Errors
/// A sentence about the first thing that is not XML or not an annotation.
pub(crate) fn parse(bytes: &[u8]) -> Result<Annotation, String> {
    let mut reader = Reader::from_reader(bytes);
    reader.config_mut().trim_text(true);
    let mut open: Vec<Vec<u8>> = Vec::new();
    let mut found: Option<Annotation> = None;
    let (mut width, mut height) = (f64::NAN, f64::NAN);
    loop {
        let at = |reader: &Reader<&[u8]>| format!("at byte {}", reader.buffer_position());
        match reader.read_event() {
            Err(error) => return Err(format!("it is not XML {}: {error}", at(&reader))),
            Ok(Event::Eof) => break,
            Ok(Event::Start(tag)) => {
                open.push(tag.local_name().as_ref().to_vec());
                if open.len() > MAX_DEPTH {
                    return Err(format!("elements nest more than {MAX_DEPTH} deep {}", at(&reader)));
                }
                match open.as_slice() {
                    [root] if root == b"annotation" && found.is_none() => found = Some(Annotation::default()),
                    [_] => return Err("its root is not one element <annotation>".to_owned()),
                    [_, object] if object == b"object" => {
                        if let Some(all) = &mut found {
                            all.objects.push(Object::default());
                        }
                    }
                    _ => {}
                }
            }
            Ok(Event::End(_)) => {
                open.pop();
            }
            Ok(Event::Text(text)) => {
                let text = String::from_utf8_lossy(&text);
                let path: Vec<&[u8]> = open.iter().skip(1).map(Vec::as_slice).collect();
                match path.as_slice() {
                    [b"size", b"width"] => width = number(&text),
                    [b"size", b"height"] => height = number(&text),
                    [b"object", rest @ ..] => {
                        if let Some(object) = found.as_mut().and_then(|all| all.objects.last_mut()) {
                            fill(object, rest, text.trim());
                        }
                    }
                    _ => {}
                }
            }
            Ok(_) => {}
        }
    }
    if let Some(left) = open.last() {
        return Err(format!("it ends inside <{}>", String::from_utf8_lossy(left)));
    }
    let mut all = found.ok_or_else(|| "it has no element <annotation>".to_owned())?;
    all.size = (width > 0.0 && height > 0.0 && width.is_finite() && height.is_finite()).then_some([width, height]);
    Ok(all)
}

fn fill(object: &mut Object, path: &[&[u8]], text: &str) {
    let [x0, y0, x1, y1] = &mut object.bounds;
    match path {
        [b"trackid"] => object.track = text.to_owned(),
        [b"name"] => object.class = text.to_owned(),
        [b"occluded"] => object.occluded = text == "1",
        [b"generated"] => object.generated = text == "1",
        [b"bndbox", b"xmin"] => *x0 = number(text),
        [b"bndbox", b"ymin"] => *y0 = number(text),
        [b"bndbox", b"xmax"] => *x1 = number(text),
        [b"bndbox", b"ymax"] => *y1 = number(text),
        _ => {}
    }
}

fn number(text: &str) -> f64 {
    text.trim().parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REAL: &str = "<annotation>\n\t<folder>ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000</folder>\n\
        \t<filename>000017</filename>\n\t<source>\n\t\t<database>ILSVRC_2015</database>\n\t</source>\n\
        \t<size>\n\t\t<width>1280</width>\n\t\t<height>720</height>\n\t</size>\n\
        \t<object>\n\t\t<trackid>3</trackid>\n\t\t<name>n01674464</name>\n\t\t<bndbox>\n\t\t\t<xmax>831</xmax>\n\
        \t\t\t<xmin>448</xmin>\n\t\t\t<ymax>719</ymax>\n\t\t\t<ymin>134</ymin>\n\t\t</bndbox>\n\
        \t\t<occluded>1</occluded>\n\t\t<generated>0</generated>\n\t</object>\n</annotation>\n";

    #[test]
    fn a_file_as_it_is_distributed() {
        let read = parse(REAL.as_bytes()).unwrap();
        assert_eq!(read.size, Some([1280.0, 720.0]));
        let object = Object {
            track: "3".into(),
            class: "n01674464".into(),
            occluded: true,
            generated: false,
            bounds: [448.0, 134.0, 831.0, 719.0],
        };
        assert_eq!(read.objects, [object]);
        let empty = parse(b"<?xml version=\"1.0\"?><annotation><size><width>0</width></size></annotation>").unwrap();
        assert_eq!(empty, Annotation::default());
    }

    #[test]
    fn what_is_broken_is_one_sentence() {
        let deep = format!("<annotation>{}", "<a>".repeat(100));
        for (text, needle) in [
            ("", "no element <annotation>"),
            ("not xml", "no element <annotation>"),
            ("<html></html>", "root"),
            ("<annotation></annotation><annotation></annotation>", "root"),
            ("<annotation><object></annotation>", "not XML"),
            ("<annotation><object>", "ends inside <object>"),
            (&deep, "32 deep"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(needle), "{text:.40}: {error}");
        }
        for cut in 1..REAL.trim_end().len() {
            assert!(parse(&REAL.as_bytes()[..cut]).is_err(), "cut at {cut}");
        }
        let bad = REAL.replace("448", "four");
        assert!(parse(bad.as_bytes()).unwrap().objects[0].bounds[0].is_nan());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(place in 0..REAL.len(), byte: u8, tail in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = REAL.as_bytes().to_vec();
            bytes[place] = byte;
            bytes.splice(place..place, tail);
            drop(parse(&bytes));
        }
    }
}
