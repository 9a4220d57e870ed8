//! What a session may do: one value, one transition function, no broker.
//!
//! Takes what is known (conditions) and what has happened (events), gives whether jobs may be asked
//! for, and how many at once. Never lets jobs in before the broker has shown that it takes
//! messages: a connection that the broker has blocked finds out only by publishing, and jobs that
//! come in meanwhile are held until the broker takes them back and counts them. If we crash here,
//! nothing has been asked for.

use crate::transport::Lane;

/// How many jobs of a lane may be in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// One: the session before ended so soon that a job may have been the reason, and that job is
    /// to be alone when it comes again.
    One,
    /// As many as the settings say.
    Full,
}

/// The pace of each lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paces {
    pub(super) urgent: Pace,
    pub(super) bulk: Pace,
}

impl Paces {
    pub(super) const ONE: Paces = Paces {
        urgent: Pace::One,
        bulk: Pace::One,
    };
    pub(super) const FULL: Paces = Paces {
        urgent: Pace::Full,
        bulk: Pace::Full,
    };

    pub(super) fn of(self, lane: Lane) -> Pace {
        match lane {
            Lane::Urgent => self.urgent,
            Lane::Bulk => self.bulk,
        }
    }

    fn with(self, lane: Lane, pace: Pace) -> Paces {
        match lane {
            Lane::Urgent => Paces {
                urgent: pace,
                ..self
            },
            Lane::Bulk => Paces { bulk: pace, ..self },
        }
    }
}

/// What a session may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// No jobs are asked for until the broker has taken a message. `thorough`: every exchange that
    /// a job's end needs is to be tried, because one of them refused something.
    Proving { thorough: bool, paces: Paces },
    /// No jobs are asked for, and why.
    Held {
        why: String,
        thorough: bool,
        paces: Paces,
    },
    /// Jobs come in.
    Serving { paces: Paces },
}

/// Reasons not to ask for jobs, as they stand now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// The broker takes no messages at all: an alarm of its memory or disk.
    pub(super) blocked: Option<String>,
    /// The broker refuses the copy of a job in hand.
    pub(super) refused: Option<String>,
    /// The worker wants none: a part that every job needs is out.
    pub(super) paused: Option<String>,
}

/// What happens to a session, besides its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    /// Nothing but the conditions may have changed.
    Looked,
    /// The broker has taken, or would take, what we publish.
    Proved,
    /// It does not.
    Disproved,
    /// A job of this lane was settled.
    Settled(Lane),
}

impl Standing {
    /// At the begin of a session, by how the one before ended.
    pub(super) fn new(thorough: bool, paces: Paces) -> Standing {
        Standing::Proving { thorough, paces }
    }

    /// At the begin of the next session. `doubted`: this one was refused something. `young`: it
    /// ended so soon, with jobs in hand, that one of them may have been the reason.
    pub(super) fn after(self, doubted: bool, young: bool) -> Standing {
        let paces = if young { Paces::ONE } else { self.paces() };
        Standing::new(doubted || self.is_thorough(), paces)
    }

    /// The next standing.
    pub(super) fn next(self, conditions: &Conditions, happening: Happening) -> Standing {
        let paces = match (happening, self.paces()) {
            (Happening::Settled(lane), paces) => paces.with(lane, Pace::Full),
            (_, paces) => paces,
        };
        let doubted = conditions.refused.is_some() || happening == Happening::Disproved;
        let thorough = doubted || self.is_thorough();
        let reason = conditions.blocked.as_ref().or(conditions.refused.as_ref());
        match (self, reason.or(conditions.paused.as_ref()), happening) {
            (_, Some(why), _) => Standing::Held {
                why: why.clone(),
                thorough,
                paces,
            },
            // Whatever it was held for, it is tried whether that is over.
            (Standing::Held { .. }, None, _) | (_, None, Happening::Disproved) => {
                Standing::Proving { thorough, paces }
            }
            (Standing::Proving { .. }, None, Happening::Proved) => Standing::Serving { paces },
            (Standing::Proving { .. }, None, _) => Standing::Proving { thorough, paces },
            (Standing::Serving { .. }, None, _) => Standing::Serving { paces },
        }
    }

    /// How many jobs of a lane may be in hand; `None`: none are asked for.
    pub(super) fn pace(&self, lane: Lane) -> Option<Pace> {
        match self {
            Standing::Serving { paces } => Some(paces.of(lane)),
            Standing::Proving { .. } | Standing::Held { .. } => None,
        }
    }

    fn paces(&self) -> Paces {
        match self {
            Standing::Proving { paces, .. }
            | Standing::Held { paces, .. }
            | Standing::Serving { paces } => *paces,
        }
    }

    fn is_thorough(&self) -> bool {
        match self {
            Standing::Proving { thorough, .. } | Standing::Held { thorough, .. } => *thorough,
            Standing::Serving { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Conditions = Conditions {
        blocked: None,
        refused: None,
        paused: None,
    };

    fn blocked() -> Conditions {
        Conditions {
            blocked: Some("low on memory".to_owned()),
            ..NOTHING
        }
    }

    fn refused() -> Conditions {
        Conditions {
            refused: Some("ACCESS_REFUSED".to_owned()),
            ..NOTHING
        }
    }

    fn paused() -> Conditions {
        Conditions {
            paused: Some("store: full".to_owned()),
            ..NOTHING
        }
    }

    fn asks_for_jobs(standing: &Standing) -> bool {
        Lane::ALL.iter().any(|lane| standing.pace(*lane).is_some())
    }

    fn serving() -> Standing {
        Standing::Serving { paces: Paces::FULL }
    }

    #[test]
    fn a_new_session_asks_for_no_jobs_before_the_broker_has_taken_a_message() {
        let new = Standing::new(false, Paces::FULL);
        assert!(!asks_for_jobs(&new));
        let looked = new.next(&NOTHING, Happening::Looked);
        assert!(!asks_for_jobs(&looked));
        assert!(asks_for_jobs(&looked.next(&NOTHING, Happening::Proved)));
    }

    #[test]
    fn every_reason_ends_intake_and_names_itself() {
        for (conditions, reason) in [
            (blocked(), "low on memory"),
            (refused(), "ACCESS_REFUSED"),
            (paused(), "store: full"),
        ] {
            for standing in [serving(), Standing::new(false, Paces::FULL)] {
                for happening in [Happening::Looked, Happening::Proved] {
                    let next = standing.clone().next(&conditions, happening);
                    assert!(matches!(&next, Standing::Held { why, .. } if why == reason));
                    assert!(!asks_for_jobs(&next));
                }
            }
        }
    }

    #[test]
    fn the_end_of_a_reason_is_proved_before_jobs_come_in() {
        for conditions in [blocked(), refused(), paused()] {
            let held = serving().next(&conditions, Happening::Looked);
            let over = held.next(&NOTHING, Happening::Looked);
            assert!(!asks_for_jobs(&over));
            assert!(asks_for_jobs(&over.next(&NOTHING, Happening::Proved)));
        }
    }

    #[test]
    fn one_reason_of_two_is_enough() {
        let both = Conditions {
            paused: paused().paused,
            ..blocked()
        };
        let held = serving().next(&both, Happening::Looked);
        let one = held.next(&paused(), Happening::Proved);
        assert!(!asks_for_jobs(&one));
    }

    #[test]
    fn after_a_refusal_every_exchange_is_tried() {
        let over = serving()
            .next(&refused(), Happening::Looked)
            .next(&NOTHING, Happening::Looked);
        assert!(matches!(over, Standing::Proving { thorough: true, .. }));
        let alarm_over = serving()
            .next(&blocked(), Happening::Looked)
            .next(&NOTHING, Happening::Looked);
        assert!(matches!(
            alarm_over,
            Standing::Proving {
                thorough: false,
                ..
            }
        ));
        let disproved = serving().next(&NOTHING, Happening::Disproved);
        assert!(matches!(
            disproved,
            Standing::Proving { thorough: true, .. }
        ));
    }

    #[test]
    fn after_a_session_that_died_young_each_lane_is_on_trial() {
        let next = serving().after(false, true);
        assert_eq!(next, Standing::new(false, Paces::ONE));
        // And stays so, should the next one end before a job of that lane was settled.
        let served = next.next(&NOTHING, Happening::Proved);
        assert_eq!(served.after(false, false), Standing::new(false, Paces::ONE));
        assert_eq!(
            serving().after(true, false),
            Standing::new(true, Paces::FULL)
        );
    }

    #[test]
    fn a_lane_on_trial_has_one_job_at_a_time_until_one_of_its_own_was_settled() {
        let trial = Standing::new(false, Paces::ONE).next(&NOTHING, Happening::Proved);
        assert_eq!(trial.pace(Lane::Bulk), Some(Pace::One));
        let next = trial.next(&NOTHING, Happening::Settled(Lane::Bulk));
        assert_eq!(next.pace(Lane::Bulk), Some(Pace::Full));
        assert_eq!(next.pace(Lane::Urgent), Some(Pace::One));
        // Held and proved anew, it is still on trial.
        let again = next
            .next(&paused(), Happening::Looked)
            .next(&NOTHING, Happening::Looked)
            .next(&NOTHING, Happening::Proved);
        assert_eq!(again.pace(Lane::Urgent), Some(Pace::One));
        assert_eq!(again.pace(Lane::Bulk), Some(Pace::Full));
    }
}
