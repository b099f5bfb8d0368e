//! File names of the corpus: `<frame>.<track>.x_<w>_<h>_<W>_<H>.jpg`.

/// What a file name says about its crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Name<'a> {
    /// Text that names the frame.
    pub frame: &'a str,
    /// Text that names the track.
    pub track: &'a str,
    /// Sizes, or what is wrong with them.
    pub sizes: Result<Sizes, &'static str>,
}

/// Sizes in a file name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// Width of the target, crop px.
    pub w: f32,
    /// Height of the target, crop px.
    pub h: f32,
    /// Width of the frame that the crop was cut from, px.
    pub frame_w: u16,
    /// Height of that frame, px.
    pub frame_h: u16,
}

/// Reads a file name; `None` for files that are not crops at all.
#[must_use]
pub fn parse(file: &str) -> Option<Name<'_>> {
    let stem = file.strip_suffix(".jpg")?;
    let (left, right) = match stem.rsplit_once(".x_") {
        Some((left, right)) => (left, right),
        None => (stem.strip_suffix(".x")?, ""),
    };
    let (frame, track) = left.rsplit_once('.')?;
    if frame.is_empty() || track.is_empty() {
        return None;
    }
    Some(Name { frame, track, sizes: sizes(right) })
}

fn sizes(text: &str) -> Result<Sizes, &'static str> {
    let fields: Vec<&str> = text.split('_').collect();
    let [w, h, frame_w, frame_h] = fields.as_slice() else {
        return Err("its name must end in .x_<w>_<h>_<W>_<H>.jpg");
    };
    // f32::parse also takes inf, nan and exponents; the corpus writes two decimals.
    let side = |text: &str| -> Option<f32> {
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        text.parse().ok().filter(|v: &f32| plain && v.is_finite() && *v > 0.0)
    };
    let frame_side = |text: &str| text.parse::<u16>().ok().filter(|v| *v > 0);
    let (Some(w), Some(h)) = (side(w), side(h)) else {
        return Err("the target's <w>_<h> in its name must be positive numbers");
    };
    let (Some(frame_w), Some(frame_h)) = (frame_side(frame_w), frame_side(frame_h)) else {
        return Err("the frame's <W>_<H> in its name must be whole numbers from 1 to 65535");
    };
    Ok(Sizes { w, h, frame_w, frame_h })
}

/// The frame number in a frame's text: its last run of digits. `None` where there is none or it is too large.
#[must_use]
pub fn frame_number(frame: &str) -> Option<u32> {
    let end = frame.rfind(|c: char| c.is_ascii_digit())? + 1;
    let digits = frame.get(..end)?;
    let start = digits
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |at| at + digits[at..].chars().next().map_or(1, char::len_utf8));
    digits.get(start..)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_both_parts_of_the_corpus() {
        let name = parse("000017.00.x_42.93_85.86_1280_720.jpg").unwrap();
        assert_eq!((name.frame, name.track), ("000017", "00"));
        assert_eq!(name.sizes, Ok(Sizes { w: 42.93, h: 85.86, frame_w: 1280, frame_h: 720 }));
        let name = parse("--4VWx_0Sc4_12_31000.005002.x_63.50_63.50_640_360.jpg").unwrap();
        assert_eq!((name.frame, name.track), ("--4VWx_0Sc4_12_31000", "005002"));
        assert!(name.sizes.is_ok());
    }

    #[test]
    fn damaged_names_are_crops_with_a_problem_and_others_are_not_crops() {
        for bad in [
            "1.00.x_1_2_3.jpg",
            "1.00.x.jpg",
            "1.00.x_nan_2_3_4.jpg",
            "1.00.x_0_2_3_4.jpg",
            "1.00.x_-1_2_3_4.jpg",
            "1.00.x_1_2_70000_4.jpg",
            "1.00.x_1_2_0_4.jpg",
            "1.00.x_1e3_2_3_4.jpg",
        ] {
            assert!(parse(bad).unwrap().sizes.is_err(), "{bad}");
        }
        for other in ["meta_data.pkl", "1.00.z_1_2_3_4.jpg", "1.x_1_2_3_4.jpg", ".00.x_1_2_3_4.jpg", "x.jpg"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn frame_numbers_are_the_last_digits() {
        for (text, number) in [
            ("000017", Some(17)),
            ("--4VWx_0Sc4_12_31000", Some(31000)),
            ("7b", Some(7)),
            ("ü9", Some(9)),
            ("abc", None),
            ("", None),
            ("99999999999", None),
        ] {
            assert_eq!(frame_number(text), number, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_panic(text in "\\PC*") {
            let _ = frame_number(&text);
            if let Some(name) = parse(&format!("{text}.jpg")) {
                prop_assert!(!name.frame.is_empty() && !name.track.is_empty());
            }
        }

        #[test]
        fn written_names_are_read_back(frame in "[a-zA-Z0-9_-]{1,20}", track in "[0-9]{2,6}", w in 1u32..50_000, fw in 1u16..) {
            let w = w as f32 / 100.0;
            let file = format!("{frame}.{track}.x_{w:.2}_{w:.2}_{fw}_{fw}.jpg");
            let name = parse(&file).unwrap();
            prop_assert_eq!((name.frame, name.track), (frame.as_str(), track.as_str()));
            let sizes = name.sizes.unwrap();
            prop_assert!((sizes.w - w).abs() < 0.006 && sizes.frame_w == fw);
        }
    }
}
