//! What people are told of: the neutral form, of which every kind of sink makes its own.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Severity;

mod of;

/// One thing that people are told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The service; empty where it is of none.
    pub service: String,
    /// The rollout, where it is of one.
    pub rollout: Option<String>,
    /// What happened.
    #[serde(rename = "event")]
    pub occasion: Occasion,
    /// How bad it is.
    pub severity: Severity,
    /// In one line.
    pub title: String,
    /// Why, and what to do.
    pub detail: String,
    /// Figures and names that belong to it, in the order in which they are shown.
    #[serde(serialize_with = "as_object")]
    pub fields: Vec<(String, String)>,
    /// When, on the wall clock (RFC 3339).
    pub time: String,
    /// The service's revision by then.
    pub revision: u64,
}

macro_rules! occasions {
    ($($variant:ident = $word:literal $help:literal;)*) => {
        /// What people can be told of; sinks choose by these words.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        pub enum Occasion {
            $(#[doc = $help] #[serde(rename = $word)] $variant,)*
        }

        impl Occasion {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word of configuration, payloads and output.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// What the word stands for.
            pub fn help(self) -> &'static str {
                match self {
                    $(Self::$variant => $help,)*
                }
            }
        }
    };
}

occasions! {
    Started = "started" "A rollout has begun";
    Step = "step" "The candidate has more clients: the next step";
    Unsure = "unsure" "A step is held, since too little is seen to judge it";
    Gate = "gate" "A gate does not pass";
    Approval = "approval" "A step waits for somebody's yes";
    Trigger = "trigger" "A trigger has fired whose reaction is to tell";
    Frozen = "frozen" "A trigger has fired, and the rollout stands still until somebody decides";
    Rollback = "rollback" "The candidate was taken back";
    StableSick = "stable-sick" "The stable entry is the sick one: nothing is moved";
    Signal = "signal" "Somebody outside has sent a signal";
    Paused = "paused" "The rollout stands still, since somebody said so or dualgate was restarted";
    Resumed = "resumed" "The rollout goes on";
    Aborted = "aborted" "Somebody has ended the rollout before its end";
    Promoted = "promoted" "Somebody has made the candidate stable before the plan's end";
    Done = "done" "The rollout has come to its end: the candidate is stable";
    NotDurable = "not-durable" "The disk has not taken a change that is in force";
    Test = "test" "Somebody wants to see whether notifications arrive";
}

impl Occasion {
    /// What a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|occasion| occasion.as_str() == word)
    }

    /// Whether it settles what was told before of the same rollout, so that nobody need look at that any more.
    pub fn settles(self) -> bool {
        matches!(self, Self::Resumed | Self::Aborted | Self::Promoted | Self::Done)
    }
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn as_object<S: Serializer>(fields: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_leads_back_to_its_occasion() {
        for occasion in Occasion::ALL {
            assert_eq!(Occasion::parse(occasion.as_str()), Some(*occasion));
        }
        assert_eq!(Occasion::parse("rolback"), None);
    }

    #[test]
    fn a_notice_is_written_with_its_fields_in_their_order() {
        let notice = Notice {
            service: "notes".to_owned(),
            rollout: None,
            occasion: Occasion::StableSick,
            severity: Severity::Warning,
            title: "t".to_owned(),
            detail: "d".to_owned(),
            fields: vec![("z".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())],
            time: "2026-01-01T00:00:00.000Z".to_owned(),
            revision: 7,
        };
        let expected = r#"{"service":"notes","rollout":null,"event":"stable-sick","severity":"warning","title":"t","detail":"d","fields":{"z":"1","a":"2"},"time":"2026-01-01T00:00:00.000Z","revision":7}"#;
        assert_eq!(serde_json::to_string(&notice).unwrap(), expected);
    }
}
