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
pub(super) enum Prefetch {
    /// One: the session before ended so soon that a job may have been the reason, and that job is
    /// to be alone when it comes again.
    One,
    /// As many as the settings say.
    Full,
}

/// The prefetch of each lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LanePrefetch {
    pub(super) urgent: Prefetch,
    pub(super) bulk: Prefetch,
}

impl LanePrefetch {
    pub(super) const ONE: LanePrefetch = LanePrefetch {
        urgent: Prefetch::One,
        bulk: Prefetch::One,
    };
    pub(super) const FULL: LanePrefetch = LanePrefetch {
        urgent: Prefetch::Full,
        bulk: Prefetch::Full,
    };

    pub(super) fn of(self, lane: Lane) -> Prefetch {
        match lane {
            Lane::Urgent => self.urgent,
            Lane::Bulk => self.bulk,
        }
    }

    fn with(self, lane: Lane, prefetch: Prefetch) -> LanePrefetch {
        match lane {
            Lane::Urgent => LanePrefetch {
                urgent: prefetch,
                ..self
            },
            Lane::Bulk => LanePrefetch {
                bulk: prefetch,
                ..self
            },
        }
    }
}

/// What a session may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SessionState {
    /// No jobs are asked for until the broker has taken a message. `thorough`: every exchange that
    /// a job's end needs is to be tried, because one of them refused something.
    Probing {
        thorough: bool,
        prefetch: LanePrefetch,
    },
    /// No jobs are asked for, and why.
    Held {
        why: String,
        thorough: bool,
        prefetch: LanePrefetch,
    },
    /// Jobs come in.
    Serving { prefetch: LanePrefetch },
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
pub(super) enum SessionEvent {
    /// Nothing but the conditions may have changed.
    ConditionsChanged,
    /// The broker has taken, or would take, what we publish.
    ProbePassed,
    /// It does not.
    ProbeFailed,
    /// A job of this lane was settled.
    Settled(Lane),
}

impl SessionState {
    /// At the begin of a session, by how the one before ended.
    pub(super) fn new(thorough: bool, prefetch: LanePrefetch) -> SessionState {
        SessionState::Probing { thorough, prefetch }
    }

    /// At the begin of the next session. `refused`: this one was refused something. `young`: it
    /// ended so soon, with jobs in hand, that one of them may have been the reason.
    pub(super) fn after(self, refused: bool, young: bool) -> SessionState {
        let prefetch = if young {
            LanePrefetch::ONE
        } else {
            self.lane_prefetch()
        };
        SessionState::new(refused || self.is_thorough(), prefetch)
    }

    /// The next state.
    pub(super) fn next(self, conditions: &Conditions, event: SessionEvent) -> SessionState {
        let prefetch = match (event, self.lane_prefetch()) {
            (SessionEvent::Settled(lane), prefetch) => prefetch.with(lane, Prefetch::Full),
            (_, prefetch) => prefetch,
        };
        let refused = conditions.refused.is_some() || event == SessionEvent::ProbeFailed;
        let thorough = refused || self.is_thorough();
        let reason = conditions.blocked.as_ref().or(conditions.refused.as_ref());
        match (self, reason.or(conditions.paused.as_ref()), event) {
            (_, Some(why), _) => SessionState::Held {
                why: why.clone(),
                thorough,
                prefetch,
            },
            // Whatever it was held for, it is tried whether that is over.
            (SessionState::Held { .. }, None, _) | (_, None, SessionEvent::ProbeFailed) => {
                SessionState::Probing { thorough, prefetch }
            }
            (SessionState::Probing { .. }, None, SessionEvent::ProbePassed) => {
                SessionState::Serving { prefetch }
            }
            (SessionState::Probing { .. }, None, _) => SessionState::Probing { thorough, prefetch },
            (SessionState::Serving { .. }, None, _) => SessionState::Serving { prefetch },
        }
    }

    /// How many jobs of a lane may be in hand; `None`: none are asked for.
    pub(super) fn prefetch(&self, lane: Lane) -> Option<Prefetch> {
        match self {
            SessionState::Serving { prefetch } => Some(prefetch.of(lane)),
            SessionState::Probing { .. } | SessionState::Held { .. } => None,
        }
    }

    fn lane_prefetch(&self) -> LanePrefetch {
        match self {
            SessionState::Probing { prefetch, .. }
            | SessionState::Held { prefetch, .. }
            | SessionState::Serving { prefetch } => *prefetch,
        }
    }

    fn is_thorough(&self) -> bool {
        match self {
            SessionState::Probing { thorough, .. } | SessionState::Held { thorough, .. } => {
                *thorough
            }
            SessionState::Serving { .. } => false,
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

    fn asks_for_jobs(session_state: &SessionState) -> bool {
        Lane::ALL
            .iter()
            .any(|lane| session_state.prefetch(*lane).is_some())
    }

    fn serving() -> SessionState {
        SessionState::Serving {
            prefetch: LanePrefetch::FULL,
        }
    }

    #[test]
    fn a_new_session_asks_for_no_jobs_before_the_broker_has_taken_a_message() {
        let new = SessionState::new(false, LanePrefetch::FULL);
        assert!(!asks_for_jobs(&new));
        let looked = new.next(&NOTHING, SessionEvent::ConditionsChanged);
        assert!(!asks_for_jobs(&looked));
        assert!(asks_for_jobs(
            &looked.next(&NOTHING, SessionEvent::ProbePassed)
        ));
    }

    #[test]
    fn every_reason_ends_intake_and_names_itself() {
        for (conditions, reason) in [
            (blocked(), "low on memory"),
            (refused(), "ACCESS_REFUSED"),
            (paused(), "store: full"),
        ] {
            for session_state in [serving(), SessionState::new(false, LanePrefetch::FULL)] {
                for event in [SessionEvent::ConditionsChanged, SessionEvent::ProbePassed] {
                    let next = session_state.clone().next(&conditions, event);
                    assert!(matches!(&next, SessionState::Held { why, .. } if why == reason));
                    assert!(!asks_for_jobs(&next));
                }
            }
        }
    }

    #[test]
    fn the_end_of_a_reason_is_probed_before_jobs_come_in() {
        for conditions in [blocked(), refused(), paused()] {
            let held = serving().next(&conditions, SessionEvent::ConditionsChanged);
            let over = held.next(&NOTHING, SessionEvent::ConditionsChanged);
            assert!(!asks_for_jobs(&over));
            assert!(asks_for_jobs(
                &over.next(&NOTHING, SessionEvent::ProbePassed)
            ));
        }
    }

    #[test]
    fn one_reason_of_two_is_enough() {
        let both = Conditions {
            paused: paused().paused,
            ..blocked()
        };
        let held = serving().next(&both, SessionEvent::ConditionsChanged);
        let one = held.next(&paused(), SessionEvent::ProbePassed);
        assert!(!asks_for_jobs(&one));
    }

    #[test]
    fn after_a_refusal_every_exchange_is_tried() {
        let over = serving()
            .next(&refused(), SessionEvent::ConditionsChanged)
            .next(&NOTHING, SessionEvent::ConditionsChanged);
        assert!(matches!(over, SessionState::Probing { thorough: true, .. }));
        let alarm_over = serving()
            .next(&blocked(), SessionEvent::ConditionsChanged)
            .next(&NOTHING, SessionEvent::ConditionsChanged);
        assert!(matches!(
            alarm_over,
            SessionState::Probing {
                thorough: false,
                ..
            }
        ));
        let probe_failed = serving().next(&NOTHING, SessionEvent::ProbeFailed);
        assert!(matches!(
            probe_failed,
            SessionState::Probing { thorough: true, .. }
        ));
    }

    #[test]
    fn after_a_session_that_died_young_each_lane_is_on_trial() {
        let next = serving().after(false, true);
        assert_eq!(next, SessionState::new(false, LanePrefetch::ONE));
        // And stays so, should the next one end before a job of that lane was settled.
        let served = next.next(&NOTHING, SessionEvent::ProbePassed);
        assert_eq!(
            served.after(false, false),
            SessionState::new(false, LanePrefetch::ONE)
        );
        assert_eq!(
            serving().after(true, false),
            SessionState::new(true, LanePrefetch::FULL)
        );
    }

    #[test]
    fn a_lane_on_trial_has_one_job_at_a_time_until_one_of_its_own_was_settled() {
        let trial =
            SessionState::new(false, LanePrefetch::ONE).next(&NOTHING, SessionEvent::ProbePassed);
        assert_eq!(trial.prefetch(Lane::Bulk), Some(Prefetch::One));
        let next = trial.next(&NOTHING, SessionEvent::Settled(Lane::Bulk));
        assert_eq!(next.prefetch(Lane::Bulk), Some(Prefetch::Full));
        assert_eq!(next.prefetch(Lane::Urgent), Some(Prefetch::One));
        // Held and probed anew, it is still on trial.
        let again = next
            .next(&paused(), SessionEvent::ConditionsChanged)
            .next(&NOTHING, SessionEvent::ConditionsChanged)
            .next(&NOTHING, SessionEvent::ProbePassed);
        assert_eq!(again.prefetch(Lane::Urgent), Some(Prefetch::One));
        assert_eq!(again.prefetch(Lane::Bulk), Some(Prefetch::Full));
    }
}
