//! The box a SiamRPN tracker is started with, from ground truth of any kind.

use super::{Rect, Region};

/// The initial box for SiamRPN, px, or `None` where there is nothing to start from.
///
/// A polygon's box is centred on the mean of its corners; its size is that of the axis-aligned box
/// shrunk to the polygon's area: with A1 = |p1 p2| * |p2 p3| (the area itself where there are not
/// four corners), A2 = (x2 - x1)(y2 - y1) and s = sqrt(A1 / A2), width = s (x2 - x1) + 1 and height
/// = s (y2 - y1) + 1. Source: MindSpore's SiamRPN `eval.py` for the size, PySOT for the centre
/// (MindSpore anchors the shrunk box at the left top corner, a known defect). The box is returned
/// such that x + (width - 1) / 2 is the centre, the convention of the tracker. Rectangles come back
/// as they are.
pub fn siamrpn_init_box(region: &Region) -> Option<Rect> {
    if !region.is_shape() {
        return None;
    }
    let Region::Polygon(points) = region else {
        return region.bounding_rect().filter(|rect| rect.width > 0.0 && rect.height > 0.0);
    };
    let around = region.bounding_rect()?;
    let count = points.len() as f64;
    let cx = points.iter().map(|p| p[0]).sum::<f64>() / count;
    let cy = points.iter().map(|p| p[1]).sum::<f64>() / count;
    let distance = |a: &[f64; 2], b: &[f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
    let own = match points.as_slice() {
        [a, b, c, _] => distance(a, b) * distance(b, c),
        _ => crate::overlap::polygon_area(points),
    };
    let outer = around.width * around.height;
    if !(own > 0.0 && outer > 0.0) {
        return None;
    }
    let scale = (own / outer).sqrt();
    let (width, height) = (scale * around.width + 1.0, scale * around.height + 1.0);
    let rect = Rect::new(cx - (width - 1.0) / 2.0, cy - (height - 1.0) / 2.0, width, height);
    rect.is_finite().then_some(rect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_value_of_a_rotated_box() {
        let polygon = Region::parse("334.02,128.36,438.19,188.78,396.39,260.83,292.23,200.41").unwrap();
        let rect = siamrpn_init_box(&polygon).unwrap();
        assert!((rect.width - 106.1309).abs() < 1e-4, "{rect:?}");
        assert!((rect.height - 96.4144).abs() < 1e-4, "{rect:?}");
        assert!((rect.x + (rect.width - 1.0) / 2.0 - 365.2075).abs() < 1e-9, "{rect:?}");
        assert!((rect.y + (rect.height - 1.0) / 2.0 - 194.595).abs() < 1e-9, "{rect:?}");
    }

    #[test]
    fn rectangles_pass_and_degenerate_regions_do_not() {
        let rect = Rect::new(3.0, 4.0, 5.0, 6.0);
        assert_eq!(siamrpn_init_box(&Region::Rectangle(rect)), Some(rect));
        let triangle = Region::parse("0,0,10,0,0,10").unwrap();
        let side = siamrpn_init_box(&triangle).unwrap().width;
        assert!((side - (1.0 + 10.0 * 0.5f64.sqrt())).abs() < 1e-12);
        for text in ["0", "nan,nan,nan,nan", "5,5,0,10", "5,5,10,-1", "1,1,2,2,3,3", "4,4", "m0,0,2,2,4"] {
            assert_eq!(siamrpn_init_box(&Region::parse(text).unwrap()), None, "{text}");
        }
    }
}
