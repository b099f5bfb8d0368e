//! Folders of each layout, whole and broken.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::region::{INVISIBLE, UNKNOWN};

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn message<T: fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn vot_data_set_with_list() {
    let data = folder(&[
        ("list.txt", "car\r\nbag\r\n\r\n"),
        ("bag/groundtruth.txt", "0,0,4,0,4,3,0,3\n1,0,4,0,4,3,0,3\n"),
        ("bag/sequence", "name=bag\nfps=25\nwidth=64\nheight=48\nchannels.color=color/%08d.jpg\n"),
        ("bag/color/00000002.jpg", ""),
        ("bag/color/00000001.jpg", ""),
        ("bag/color/00000001.png", ""),
        ("bag/color/.hidden.jpg", ""),
        ("bag/occlusion.tag", "0\n1\n"),
        ("bag/motion_change.label", "1\n"),
        ("bag/practical.value", "0.25\n"),
        ("car/groundtruth.txt", "1,2,3,4\n5,6,7,8\n"),
        ("car/00000001.jpg", ""),
        ("car/00000002.jpg", ""),
        ("left/groundtruth.txt", "1,2,3,4\n"),
    ]);
    let sequences = read_dataset(data.path(), None).unwrap();
    let names: Vec<_> = sequences.iter().map(|sequence| sequence.name.as_str()).collect();
    assert_eq!(names, ["car", "bag"]);
    let (car, bag) = (&sequences[0], &sequences[1]);
    assert_eq!(bag.size(), Some((64, 48)));
    assert_eq!(bag.fps, Some(25.0));
    let color = data.path().join("bag/color");
    assert_eq!(bag.frames, [color.join("00000001.jpg"), color.join("00000002.jpg")]);
    assert_eq!(bag.tags["occlusion"], [false, true]);
    assert_eq!(bag.tags["motion_change"], [true, false]);
    assert_eq!(bag.values["practical"], [0.25, 0.0]);
    assert_eq!((bag.layout, bag.root.as_path()), (Layout::Vot, data.path().join("bag").as_path()));
    assert!(bag.has_tag("all", 1) && !bag.has_tag("empty", 1) && !bag.has_tag("all", 2));
    assert_eq!((car.frames.len(), car.size(), car.len()), (2, None, 2));
    assert_eq!(car.groundtruth[1], Region::rect(5.0, 6.0, 7.0, 8.0));
    assert!(car.has_tag("empty", 0) && !car.has_tag("empty", 2) && !car.has_tag("other", 0));
    assert!(sequences.iter().all(|sequence| sequence.warnings.is_empty()));
    // A single sequence is a data set of one.
    assert_eq!(read_dataset(&data.path().join("bag"), None).unwrap()[0], *bag);
}

#[test]
fn workspaces_of_the_toolkits() {
    let data = folder(&[
        ("python/config.yaml", "registry:\n- ./trackers.ini\nstack: vot2016/rgb\n"),
        ("python/sequences/list.txt", "bag\n"),
        ("python/sequences/bag/groundtruth.txt", "1,2,3,4\n"),
        ("python/results/mine/baseline/bag/bag_001.txt", "1\n"),
        ("other/config.yaml", "sequences: \"place\"\nstack:\n  title: own\n"),
        ("other/place/cat/groundtruth.txt", "1,2,3,4\n"),
        ("matlab/configuration.m", ""),
        ("matlab/sequences/list.txt", "dog\n"),
        ("matlab/sequences/dog/groundtruth.txt", "1,2,3,4\n"),
        ("vot2015/list.txt", "fox\n"),
        ("vot2015/fox/groundtruth.txt", "1,2,3,4\n"),
    ]);
    for (place, sequence, name) in [
        ("python", "bag", "vot2016/rgb"),
        ("python/sequences", "bag", "vot2016/rgb"),
        ("other", "cat", "other"),
        ("matlab", "dog", "matlab"),
        ("vot2015", "fox", "vot2015"),
        ("python/sequences/bag", "bag", "bag"),
    ] {
        let place = data.path().join(place);
        assert_eq!(read_dataset(&place, None).unwrap()[0].name, sequence);
        assert_eq!(dataset_name(&place).unwrap(), name);
    }
    fs::remove_file(data.path().join("python/sequences/bag/groundtruth.txt")).unwrap();
    assert!(message(read_dataset(&data.path().join("python"), None)).contains("sequences"));
}

#[test]
fn without_images_the_description_gives_the_length() {
    let data = folder(&[
        ("a/groundtruth.txt", "1,2,3,4\n1,2,3,4\n"),
        ("a/sequence", "width=64\nheight=48\nlength=4\n"),
        ("b/groundtruth.txt", "1,2,3,4\n"),
    ]);
    let sequences = read_dataset(data.path(), None).unwrap();
    assert_eq!((sequences[0].len(), sequences[0].frames.len()), (4, 0));
    assert_eq!(sequences[0].groundtruth[3], Region::Special(UNKNOWN));
    assert!(sequences[0].warnings[0].contains("groundtruth.txt has 2 regions for 4 frames"));
    assert_eq!(sequences[1].len(), 1);
}

#[test]
fn lengths_that_disagree_name_file_and_both() {
    let data = folder(&[
        ("a/groundtruth.txt", "1,2,3,4\n1,2,3,4\n1,2,3,4\n"),
        ("a/color/00000001.jpg", ""),
        ("a/color/00000002.jpg", ""),
        ("b/groundtruth.txt", "1,2,3,4\n"),
        ("b/sequence", "length=3\n"),
        ("b/00000001.png", ""),
        ("c/groundtruth.txt", "1,2,3,4\n"),
        ("c/occlusion.tag", "1\n1\n"),
    ]);
    let text = message(read_sequence(&data.path().join("a"), Layout::Vot));
    assert!(
        text.contains("groundtruth.txt has 3 entries") && text.contains("has 2") && text.contains("color"),
        "{text}"
    );
    let text = message(read_sequence(&data.path().join("b"), Layout::Vot));
    assert!(text.contains("sequence has 3 entries") && text.contains("has 1"), "{text}");
    let text = message(read_sequence(&data.path().join("c"), Layout::Vot));
    assert!(text.contains("occlusion.tag has 2 entries") && text.contains("has 1"), "{text}");
}

#[test]
fn one_named_target_is_read_and_several_are_refused() {
    let data = folder(&[
        ("one/groundtruth_dog.txt", "1,2,3,4\n"),
        ("two/groundtruth_dog.txt", "1,2,3,4\n"),
        ("two/groundtruth_cat.txt", "1,2,3,4\n"),
        ("named/groundtruth_dog.txt", "1,2,3,4\n"),
        ("named/groundtruth_cat.txt", "5,2,3,4\n"),
        ("named/sequence", "groundtruth=groundtruth_cat.txt\n"),
    ]);
    assert_eq!(read_sequence(&data.path().join("one"), Layout::Vot).unwrap().len(), 1);
    assert!(message(read_sequence(&data.path().join("two"), Layout::Vot)).contains("2 targets"));
    let named = read_sequence(&data.path().join("named"), Layout::Vot).unwrap();
    assert_eq!(named.groundtruth, [Region::rect(5.0, 2.0, 3.0, 4.0)]);
}

#[test]
fn otb_boxes_count_from_zero_here() {
    let data = folder(&[
        ("Car/groundtruth_rect.txt", "2,3,10,20\n3\t4\t10\t20\r\n4 5  10 20\nNaN NaN NaN NaN\n"),
        ("Car/img/0001.jpg", ""),
        ("Car/img/0002.jpg", ""),
        ("Car/img/0003.jpg", ""),
        ("Car/img/0004.jpg", ""),
        ("Jog/groundtruth_rect.1.txt", "1,1,2,2\n"),
        ("Jog/groundtruth_rect.2.txt", "5,5,2,2\n"),
        ("Jog/img/0001.jpg", ""),
    ]);
    assert_eq!(detect_layout(data.path()).unwrap(), Layout::Otb);
    let sequences = read_dataset(data.path(), None).unwrap();
    let names: Vec<_> = sequences.iter().map(|sequence| sequence.name.as_str()).collect();
    assert_eq!(names, ["Car", "Jog-1", "Jog-2"]);
    assert_eq!(
        sequences[0].groundtruth,
        [
            Region::rect(1.0, 2.0, 10.0, 20.0),
            Region::rect(2.0, 3.0, 10.0, 20.0),
            Region::rect(3.0, 4.0, 10.0, 20.0),
            Region::Special(UNKNOWN)
        ]
    );
    assert_eq!(sequences[2].groundtruth, [Region::rect(4.0, 4.0, 2.0, 2.0)]);
    let first = read_sequence(&data.path().join("Jog"), Layout::Otb).unwrap();
    assert!(first.name == "Jog-1" && first.warnings[0].contains("1 further target"));
    fs::write(data.path().join("Car/groundtruth_rect.txt"), "2,3,10,20\n2,3,x,20\n").unwrap();
    assert!(message(read_dataset(data.path(), None)).contains("groundtruth_rect.txt:2"));
    fs::write(data.path().join("Car/groundtruth_rect.txt"), "2,3,10,20\n").unwrap();
    let text = message(read_dataset(data.path(), None));
    assert!(text.contains("has 1 entries") && text.contains("has 4"), "{text}");
}

#[test]
fn otb_sequences_known_to_begin_late() {
    let names: Vec<String> = (1..=302).map(|number| format!("David/img/{number:04}.jpg")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    files.push(("David/groundtruth_rect.txt", "1,1,2,2\n1,1,2,2\n"));
    let data = folder(&files);
    let david = read_sequence(&data.path().join("David"), Layout::Otb).unwrap();
    assert!(david.frames.len() == 2 && david.frames[0].ends_with("0300.jpg"));
}

#[test]
fn lasot_marks() {
    let data = folder(&[
        ("airplane/airplane-1/groundtruth.txt", "11,21,30,40\n12,22,30,40\n0,0,0,0\n"),
        ("airplane/airplane-1/full_occlusion.txt", "0,1,0"),
        ("airplane/airplane-1/out_of_view.txt", "0,0,1\n"),
        ("airplane/airplane-1/nlp.txt", "white airplane"),
        ("airplane/airplane-1/img/00000001.jpg", ""),
        ("airplane/airplane-1/img/00000002.jpg", ""),
        ("airplane/airplane-1/img/00000003.jpg", ""),
        ("zebra/zebra-9/groundtruth.txt", "1,1,3,4\n"),
        ("zebra/zebra-9/out_of_view.txt", "0"),
        ("zebra/zebra-9/img/00000001.jpg", ""),
    ]);
    let sequences = read_dataset(data.path(), None).unwrap();
    let names: Vec<_> = sequences.iter().map(|s| (s.name.as_str(), s.class.as_str(), s.layout)).collect();
    assert_eq!(names, [("airplane-1", "airplane", Layout::Lasot), ("zebra-9", "zebra", Layout::Lasot)]);
    let first = &sequences[0];
    let boxes =
        [Region::rect(10.0, 20.0, 30.0, 40.0), Region::rect(11.0, 21.0, 30.0, 40.0), Region::Special(INVISIBLE)];
    assert_eq!(first.groundtruth, boxes);
    assert_eq!((first.tags["full_occlusion"].as_slice(), first.frames.len()), (&[false, true, false][..], 3));
    // A class' folder and a sequence are data sets too.
    assert_eq!(read_dataset(&data.path().join("airplane"), None).unwrap(), std::slice::from_ref(first));
    assert_eq!(read_dataset(&data.path().join("airplane/airplane-1"), None).unwrap(), std::slice::from_ref(first));
    for (marks, needle) in [("0,1", "has 2"), ("0,1,x", "`x`")] {
        fs::write(data.path().join("airplane/airplane-1/full_occlusion.txt"), marks).unwrap();
        let text = message(read_dataset(data.path(), None));
        assert!(text.contains("full_occlusion.txt") && text.contains(needle), "{text}");
    }
}

#[test]
fn got10k_labels() {
    let data = folder(&[
        ("list.txt", "S_1\nS_2\n"),
        ("S_1/groundtruth.txt", "1.0,2.0,3.0,4.0\n0,0,0,0\n"),
        ("S_1/absence.label", "0\n1\n"),
        ("S_1/cover.label", "8\n0\n"),
        ("S_1/meta_info.ini", "[METAINFO]\nanno_fps: 10Hz\nobject_class: zebra\nresolution: (1920, 1080)\n"),
        ("S_1/00000001.jpg", ""),
        ("S_1/00000002.jpg", ""),
        ("S_2/groundtruth.txt", "1,2,3,4\n"),
        ("S_2/00000001.jpg", ""),
        ("S_2/00000002.jpg", ""),
        ("S_2/00000003.jpg", ""),
    ]);
    let sequences = read_dataset(data.path(), None).unwrap();
    let (first, test) = (&sequences[0], &sequences[1]);
    assert_eq!(first.layout, Layout::Got10k);
    assert_eq!(first.groundtruth, [Region::rect(1.0, 2.0, 3.0, 4.0), Region::Special(INVISIBLE)]);
    assert_eq!((first.size(), first.fps), (Some((1920, 1080)), Some(10.0)));
    assert_eq!((first.class.as_str(), test.class.as_str()), ("zebra", ""));
    assert_eq!(first.values["cover"], [8.0, 0.0]);
    assert_eq!(first.tags["absence"], [false, true]);
    assert!(test.len() == 3 && test.warnings.len() == 1);
    fs::write(data.path().join("S_1/groundtruth.txt"), "1,2,3,4\n1,2,3,4\n1,2,3,4\n").unwrap();
    let text = message(read_dataset(data.path(), None));
    assert!(text.contains("groundtruth.txt has 3 entries"), "{text}");
}

#[test]
fn folders_that_are_no_data_set() {
    let data = folder(&[
        ("plain/readme.txt", "hello"),
        ("listed/list.txt", "gone\n"),
        ("escape/list.txt", "../plain\n"),
        ("empty/list.txt", "\n"),
        ("broken/groundtruth.txt", "1,2,3,4\n1,2,3\n"),
        ("sized/groundtruth.txt", "1,2,3,4\n"),
        ("sized/sequence", "width=-5\n"),
        ("bare/sequence", "width=5\n"),
    ]);
    let at = |name: &str| data.path().join(name);
    assert!(message(detect_layout(&at("plain"))).contains("groundtruth_rect.txt"));
    assert!(message(detect_layout(&at("none"))).contains("none"));
    assert!(message(read_dataset(&at("listed"), Some(Layout::Vot))).contains("gone, which is not a folder"));
    assert!(message(read_dataset(&at("escape"), Some(Layout::Vot))).contains("without `..`"));
    assert!(message(read_dataset(&at("empty"), Some(Layout::Vot))).contains("lists none"));
    assert!(message(read_dataset(&at("broken"), None)).contains("groundtruth.txt:2"));
    assert!(message(read_dataset(&at("sized"), None)).contains("`-5`"));
    assert!(message(read_dataset(&at("bare"), None)).contains("groundtruth.txt"));
}

#[test]
fn layout_names() {
    for layout in Layout::ALL {
        assert_eq!(layout.to_string().parse::<Layout>().unwrap(), layout);
    }
    assert!("nfs".parse::<Layout>().unwrap_err().to_string().contains("got10k"));
}
