//! E19: kills, a killed broker and repeats again, on the other versions of RabbitMQ.

use std::sync::Arc;

use super::{broker, jobs, kills};
use crate::Stage;
use crate::bench::Outcome;
use crate::node::Node;

const VERSIONS: [(&str, u16); 2] = [("4.0", 5920), ("4.3", 5921)];

pub async fn others(stage: Stage) -> Outcome {
    let mut all: Option<Outcome> = None;
    for (version, port) in VERSIONS {
        let node = Arc::new(Node::of_version(port, version).await);
        for outcome in [
            kills::at_random(stage.smaller_on(Arc::clone(&node))).await,
            broker::killed(stage.smaller_on(Arc::clone(&node))).await,
            jobs::repeated(stage.smaller_on(Arc::clone(&node))).await,
        ] {
            let outcome = outcome.with_faults_of(version);
            all = Some(match all {
                Some(before) => before.and(outcome),
                None => outcome,
            });
        }
    }
    all.expect("there are versions")
}
