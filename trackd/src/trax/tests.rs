//! Sessions with a tracker that stays where it was started.

use super::*;
use crate::engine::fake::Stills;
use base64::Engine as _;

/// A bright picture of 40x30 px, or a dark one on which the fake tracker is lost.
fn picture(level: u8) -> String {
    format!("image:40;30;gray8;{}", base64::engine::general_purpose::STANDARD.encode(vec![level; 1200]))
}

/// What a server of this version says to these lines, and how it ends.
fn talk(version: u8, lines: &[String]) -> (Vec<Message>, Result<(), TraxError>) {
    let input = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let mut output = Vec::new();
    let end = serve(input.as_bytes(), &mut output, &Stills::default(), version, &Limits::default());
    let said = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    (said.map(|line| Message::parse(line).unwrap().unwrap()).collect(), end)
}

fn regions(said: &[Message]) -> Vec<String> {
    let states = said.iter().filter(|m| m.kind == Kind::State);
    states.map(|m| String::from_utf8(m.arguments[0].clone()).unwrap()).collect()
}

#[test]
fn one_target_in_the_old_versions() {
    for version in 1..=3 {
        let lines = [
            "chatter that means nothing".to_owned(),
            format!("@@TRAX:initialize \"{}\" \"2,3,10,8\" \"seed=1\"", picture(200)),
            format!("@@TRAX:frame \"{}\"", picture(200)),
            format!("@@TRAX:initialize \"{}\" \"5,3,10,8\"", picture(200)),
            format!("@@TRAX:frame {}", picture(10)),
            "@@TRAX:quit".to_owned(),
            "@@TRAX:frame nothing after the end is read".to_owned(),
        ];
        let (said, end) = talk(version, &lines);
        end.unwrap();
        assert_eq!(said[0].kind, Kind::Hello);
        assert_eq!(said[0].properties["trax.version"], version.to_string().as_bytes());
        assert!(!said[0].properties.contains_key("trax.multiobject"));
        let expected = ["2.0000,3.0000,10.0000,8.0000", "2.0000,3.0000,10.0000,8.0000"];
        assert_eq!(regions(&said)[..2], expected);
        assert_eq!(regions(&said)[2..], ["5.0000,3.0000,10.0000,8.0000"; 2]);
        assert!(!said[1].properties.contains_key("confidence"));
        assert_eq!(said[2].properties["confidence"], b"0.750000");
        assert_eq!(said[4].properties["confidence"], b"0.100000");
    }
}

#[test]
fn many_targets_in_version_four() {
    let frame = || format!("@@TRAX:frame \"{}\"", picture(200));
    let lines = [
        "@@TRAX:initialize \"2,3,10,8\" \"object=a\"".to_owned(),
        "@@TRAX:initialize \"12,3,10,8\"".to_owned(),
        frame(),
        "@@TRAX:initialize \"1,1,5,5\"".to_owned(),
        frame(),
        "@@TRAX:initialize".to_owned(),
        "@@TRAX:initialize \"10,10,20,10,20,20,10,20\"".to_owned(),
        frame(),
        frame(),
    ];
    let (said, end) = talk(4, &lines);
    end.unwrap();
    assert_eq!(said[0].properties["trax.multiobject"], b"1");
    let found = regions(&said);
    assert_eq!(found.len(), 2 + 3 + 1 + 1);
    assert_eq!(
        &found[2..5],
        ["2.0000,3.0000,10.0000,8.0000", "12.0000,3.0000,10.0000,8.0000", "1.0000,1.0000,5.0000,5.0000"]
    );
    // The polygon comes back as given, then as the box that SiamRPN makes of it.
    assert!(found[5].starts_with("10.0000,10.0000,20.0000"), "{}", found[5]);
    assert_eq!(found[6].split(',').count(), 4);
}

#[test]
fn the_client_is_told_why_a_session_ends() {
    let start = format!("@@TRAX:initialize \"{}\" \"2,3,10,8\"", picture(200));
    for (version, lines, why) in [
        (3, vec![format!("@@TRAX:frame \"{}\"", picture(9))], "without a target"),
        (3, vec!["@@TRAX:initialize \"2,3,10,8\"".to_owned()], "a picture and a region"),
        (4, vec![start.clone()], "one region"),
        (3, vec![format!("@@TRAX:initialize \"{}\" \"2,3,0,8\"", picture(9))], "no area"),
        (3, vec![format!("@@TRAX:initialize \"{}\" \"a box\"", picture(9))], "a box"),
        (3, vec![format!("@@TRAX:initialize \"{}\" \"90,3,5,8\"", picture(9))], "track"),
        (3, vec![start.clone(), "@@TRAX:frame file:///nowhere.jpg".to_owned()], "/nowhere.jpg"),
        (3, vec![start, "@@TRAX:frame".to_owned()], "one picture"),
        (4, vec!["@@TRAX:dance".to_owned()], "dance"),
    ] {
        let (said, end) = talk(version, &lines);
        let error = end.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        let last = said.last().unwrap();
        assert_eq!(last.kind, Kind::Quit);
        assert_eq!(last.properties["trax.reason"], error.as_bytes());
    }
    // A client that closes its end has nothing to complain about.
    assert!(talk(4, &[]).1.is_ok());
}
