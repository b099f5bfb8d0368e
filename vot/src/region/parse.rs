//! Parsing of one region from text. Never panics, whatever the text.

use std::str::FromStr;

use super::{Mask, Rect, Region, UNKNOWN};
use crate::error::shorten;

/// Largest mask window that is accepted, in pixels (16384 x 16384).
const MAX_MASK_PIXELS: u64 = 1 << 28;

/// Why a text is not a region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// Nothing but white space.
    #[error("the line is empty; write a region or the code 0")]
    Empty,
    /// Something that is not a number.
    #[error("value {position} is not a number: `{found}`")]
    Number {
        /// Which value, counted from 1.
        position: usize,
        /// What stands there.
        found: String,
    },
    /// An infinite number.
    #[error("value {position} is not finite: `{found}`")]
    Infinite {
        /// Which value, counted from 1.
        position: usize,
        /// What stands there.
        found: String,
    },
    /// A count of numbers that means nothing.
    #[error(
        "{found} values do not make {expected}; expected 1 (code), 2 (point), 4 (x,y,width,height) \
         or an even number of at least 6 (polygon)"
    )]
    Count {
        /// What was to be made of them.
        expected: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A mask whose window or runs are impossible.
    #[error("the mask is not valid: {reason}")]
    Mask {
        /// What is wrong.
        reason: String,
    },
    /// A code outside the range of 32 bit.
    #[error("the code `{found}` is out of range")]
    Code {
        /// What stands there.
        found: String,
    },
}

/// Kind announced by a TraX prefix.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Any,
    Special,
    Rectangle,
    Polygon,
    Mask,
}

impl FromStr for Region {
    type Err = RegionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Region::parse(text)
    }
}

impl Region {
    /// Parses VOT text as the official Python toolkit does: any NaN among the numbers gives code 0.
    /// The TraX prefixes `special:`, `rect:`, `poly:` and `mask:` are accepted too.
    pub fn parse(text: &str) -> Result<Region, RegionError> {
        parse(text, false)
    }

    /// Parses text as libtrax does: like [`Region::parse`], but four values with a NaN and a number in
    /// fourth place are the code -(fourth), the way of VOT2013 result files.
    pub fn parse_trax(text: &str) -> Result<Region, RegionError> {
        parse(text, true)
    }
}

fn parse(text: &str, trax: bool) -> Result<Region, RegionError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(RegionError::Empty);
    }
    let (kind, body) = split_prefix(text);
    if kind == Kind::Mask {
        return parse_mask(body);
    }
    let mut values = Vec::new();
    for (index, token) in body.split(',').enumerate() {
        let token = token.trim();
        let value: f64 =
            token.parse().map_err(|_| RegionError::Number { position: index + 1, found: shorten(token) })?;
        if value.is_infinite() {
            return Err(RegionError::Infinite { position: index + 1, found: shorten(token) });
        }
        values.push(value);
    }
    check_count(kind, values.len())?;
    if values.iter().any(|value| value.is_nan()) {
        return match values.as_slice() {
            [_, _, _, fourth] if trax && !fourth.is_nan() => code(-fourth.trunc()),
            _ => Ok(Region::Special(UNKNOWN)),
        };
    }
    match values.as_slice() {
        [value] => code(value.trunc()),
        [x, y] => Ok(Region::Point([*x, *y])),
        [x, y, width, height] if kind != Kind::Polygon => Ok(Region::Rectangle(Rect::new(*x, *y, *width, *height))),
        _ => Ok(Region::Polygon(values.chunks_exact(2).filter_map(|pair| <[f64; 2]>::try_from(pair).ok()).collect())),
    }
}

fn split_prefix(text: &str) -> (Kind, &str) {
    for (prefix, kind) in [
        ("mask:", Kind::Mask),
        ("rect:", Kind::Rectangle),
        ("rectangle:", Kind::Rectangle),
        ("poly:", Kind::Polygon),
        ("polygon:", Kind::Polygon),
        ("special:", Kind::Special),
        ("m", Kind::Mask),
    ] {
        if let Some(body) = text.strip_prefix(prefix) {
            return (kind, body);
        }
    }
    (Kind::Any, text)
}

fn check_count(kind: Kind, found: usize) -> Result<(), RegionError> {
    let polygon = found >= 6 && found.is_multiple_of(2);
    let (expected, fits) = match kind {
        Kind::Special => ("a code", found == 1),
        Kind::Rectangle => ("a rectangle", found == 4),
        Kind::Polygon => ("a polygon", polygon),
        Kind::Any | Kind::Mask => ("a region", matches!(found, 1 | 2 | 4) || polygon),
    };
    if fits { Ok(()) } else { Err(RegionError::Count { expected, found }) }
}

fn code(value: f64) -> Result<Region, RegionError> {
    if value >= f64::from(i32::MIN) && value <= f64::from(i32::MAX) {
        Ok(Region::Special(value as i32))
    } else {
        Err(RegionError::Code { found: value.to_string() })
    }
}

fn parse_mask(body: &str) -> Result<Region, RegionError> {
    let mut numbers = Vec::new();
    for (index, token) in body.split(',').enumerate() {
        let token = token.trim();
        let number: i64 =
            token.parse().map_err(|_| RegionError::Number { position: index + 1, found: shorten(token) })?;
        numbers.push(number);
    }
    let [x, y, width, height, runs @ ..] = numbers.as_slice() else {
        return Err(RegionError::Mask {
            reason: format!("{} values, at least x,y,width,height are needed", numbers.len()),
        });
    };
    mask_from_numbers([*x, *y, *width, *height], runs.iter().copied()).map(Region::Mask)
}

/// Builds a mask from outside numbers, checking every one.
pub(crate) fn mask_from_numbers(
    [x, y, width, height]: [i64; 4],
    runs: impl Iterator<Item = i64>,
) -> Result<Mask, RegionError> {
    let invalid = |reason: String| RegionError::Mask { reason };
    let side =
        |value: i64, name: &str| u32::try_from(value).map_err(|_| invalid(format!("{name} {value} is out of range")));
    let offset =
        |value: i64, name: &str| i32::try_from(value).map_err(|_| invalid(format!("{name} {value} is out of range")));
    let (width, height) = (side(width, "width")?, side(height, "height")?);
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_MASK_PIXELS {
        return Err(invalid(format!("{width}x{height} px is more than {MAX_MASK_PIXELS} px")));
    }
    let mut rle = Vec::new();
    let mut total = 0u64;
    for run in runs {
        let run = side(run, "run")?;
        total += u64::from(run);
        if total > pixels {
            return Err(invalid(format!("the runs cover more than {width}x{height} px")));
        }
        rle.push(run);
    }
    Ok(Mask { x: offset(x, "x")?, y: offset(y, "y")?, width, height, rle })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_text_form() {
        let region = |text: &str| Region::parse(text).unwrap();
        assert_eq!(region("1"), Region::Special(1));
        assert_eq!(region(" 2.0000 "), Region::Special(2));
        assert_eq!(region("nan"), Region::Special(0));
        assert_eq!(region("nan,nan,nan,nan"), Region::Special(0));
        assert_eq!(region("NaN,NaN,NaN,-2"), Region::Special(0));
        assert_eq!(region("1,2,3,nan,5,6,7,8"), Region::Special(0));
        assert_eq!(region("10.5,-2,3e1,4"), Region::rect(10.5, -2.0, 30.0, 4.0));
        assert_eq!(region("3,4"), Region::Point([3.0, 4.0]));
        assert_eq!(region("0,0, 1,0, 0,1"), Region::Polygon(vec![[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]));
        let mask = Region::Mask(Mask { x: 3, y: 4, width: 2, height: 2, rle: vec![0, 1, 2, 1] });
        for text in ["m3,4,2,2,0,1,2,1", "m 3,4,2,2,0,1,2,1", "mask:3,4,2,2,0,1,2,1"] {
            assert_eq!(region(text), mask, "{text}");
        }
        assert_eq!(region("rect:1,2,3,4"), Region::rect(1.0, 2.0, 3.0, 4.0));
        assert_eq!(region("special:2"), Region::Special(2));
        assert_eq!(region("poly:0,0,1,0,0,1"), region("0,0,1,0,0,1"));
    }

    #[test]
    fn libtrax_reads_codes_behind_nan() {
        assert_eq!(Region::parse_trax("NaN,NaN,NaN,-2").unwrap(), Region::Special(2));
        assert_eq!(Region::parse_trax("nan,nan,nan,nan").unwrap(), Region::Special(0));
        assert_eq!(Region::parse_trax("nan,2").unwrap(), Region::Special(0));
        assert_eq!(Region::parse_trax("5,5,6,7").unwrap(), Region::rect(5.0, 5.0, 6.0, 7.0));
    }

    #[test]
    fn what_is_no_region_is_named() {
        let message = |text: &str| Region::parse(text).unwrap_err().to_string();
        assert!(message("  ").contains("empty"));
        assert!(message("1,2,x,4").contains("value 3") && message("1,2,x,4").contains("`x`"));
        assert!(message("1,2,3").contains("3 values"));
        assert!(message("1,2,3,4,5").contains("5 values"));
        assert!(message("1,2,3,").contains("value 4"));
        assert!(message("1,inf,3,4").contains("value 2"));
        assert!(message("1e12").contains("out of range"));
        assert!(message("rect:1,2").contains("a rectangle"));
        assert!(message("m1,2,3").contains("3 values"));
        assert!(message("m0,0,2,2,3,2").contains("more than 2x2"));
        assert!(message("m0,0,99999,99999").contains("px is more"));
        assert!(message("m0,0,-1,2,1").contains("width -1"));
        assert!(message("mx").contains("`x`"));
    }

    #[test]
    fn masks_of_the_official_cases() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/cases/expected_overlaps.json")).unwrap();
        let masks = cases["masks"].as_array().unwrap();
        assert_eq!(masks.len(), 6);
        for case in masks {
            let text = case["vot_string"].as_str().unwrap();
            let rows: Vec<Vec<u8>> = serde_json::from_value(case["rows"].clone()).unwrap();
            let [x, y]: [i32; 2] = serde_json::from_value(case["offset"].clone()).unwrap();
            let parsed = Region::parse(text).unwrap();
            assert_eq!(parsed, Region::Mask(Mask::from_rows(x, y, &rows)), "{}", case["name"]);
            assert_eq!(parsed.to_string(), text);
        }
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![-1e4..1e4, (-100i32..100).prop_map(f64::from), -1e-6..1e-6]
    }

    fn region() -> impl Strategy<Value = Region> {
        prop_oneof![
            any::<i32>().prop_map(Region::Special),
            [number(), number(), number(), number()].prop_map(|[x, y, w, h]| Region::rect(x, y, w, h)),
            [number(), number()].prop_map(Region::Point),
            prop::collection::vec([number(), number()], 3..9).prop_map(Region::Polygon),
            (-500i32..500, -500i32..500, prop::collection::vec(prop::collection::vec(0u8..2, 5), 1..6))
                .prop_map(|(x, y, rows)| Region::Mask(Mask::from_rows(x, y, &rows))),
        ]
    }

    proptest! {
        #[test]
        fn text_reads_back_to_the_same_region(region in region()) {
            prop_assert_eq!(Region::parse(&region.to_string()).unwrap(), region.clone());
            let trax = Region::parse_trax(&region.to_trax()).unwrap();
            prop_assert_eq!(Region::parse_trax(&trax.to_trax()).unwrap(), trax);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = Region::parse(&text);
            let _ = Region::parse_trax(&text);
        }

        #[test]
        fn no_region_like_text_makes_it_panic(text in "(m|mask:|poly:|rect:)?[-0-9e.,naif ]{0,40}") {
            if let Ok(region) = Region::parse(&text) {
                prop_assert_eq!(Region::parse(&region.to_string()).unwrap(), region);
            }
            let _ = Region::parse_trax(&text);
        }
    }
}
