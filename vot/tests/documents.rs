//! The scores fit the document types that cross the boundary to other programs.

use schemas::score::{EvalDoc, ScoreDoc};
use vot::measures::{Runs, ScoreOptions, eval_json, score};
use vot::protocol::Trajectory;
use vot::{Dialect, Region, Sequence};

#[test]
fn score_and_eval_are_the_shared_documents() {
    let region = Region::rect(10.0, 10.0, 20.0, 20.0);
    let sequence = Sequence::new("still", vec![region.clone(); 40], Some((64, 48)));
    let mut trajectory = Trajectory::from_regions(vec![region; 40]);
    trajectory.regions[0] = Region::Special(1);
    trajectory.times = vec![Some(0.5); 40];
    let trajectories = [trajectory];
    let runs = [Runs { sequence: &sequence, trajectories: &trajectories }];
    for interval in [(10, 30), (100, 300)] {
        let options = ScoreOptions { interval: Some(interval), ..ScoreOptions::default() };
        for dialect in Dialect::ALL {
            let found = score(dialect, &runs, &options).unwrap();
            let document: ScoreDoc = serde_json::from_value(serde_json::to_value(&found).unwrap()).unwrap();
            assert_eq!(document.dialect, dialect.as_str());
            assert_eq!((document.accuracy, document.eao), (found.accuracy, found.eao));
            assert_eq!(document.sequences["still"].frames, 40);
            assert_eq!(found.eao.is_none(), interval.0 == 100);
            assert_eq!(document.warnings.is_empty(), interval.0 == 10);
        }
        let document: EvalDoc = serde_json::from_value(eval_json(&runs, &options).unwrap()).unwrap();
        assert_eq!((document.sequences["still"].acc, document.sequences["still"].fps), (1.0, 2.0));
        assert_eq!(document.all_videos.dialect, "mindspore");
    }
}
