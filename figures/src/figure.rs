//! One figure: what was measured, how often, and what it should be. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::samples::{in_milliseconds, in_seconds, median};

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub what: String,
    /// Of the samples, and of the budget.
    pub unit: String,
    pub budget: Budget,
    pub samples: Vec<f64>,
    pub beside: Vec<Beside>,
}

/// What a figure should not be more, or less, than. It is the median that is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// The figure only explains others.
    #[default]
    None,
    Most(f64),
    Least(f64),
}

/// What the same work took somebody else, in the same unit and, if it was measured, in the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    pub who: String,
    pub samples: Vec<f64>,
}

impl Budget {
    /// Whether a value keeps to it; without a budget every one does.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::None => true,
            Self::Most(most) => value <= most,
            Self::Least(least) => value >= least,
        }
    }
}

impl Figure {
    pub fn new(what: impl Into<String>, unit: &str, samples: impl Into<Vec<f64>>) -> Self {
        Self {
            what: what.into(),
            unit: unit.to_owned(),
            budget: Budget::None,
            samples: samples.into(),
            beside: Vec::new(),
        }
    }

    pub fn seconds(what: impl Into<String>, samples: &[Duration]) -> Self {
        Self::new(what, "s", in_seconds(samples))
    }

    pub fn milliseconds(what: impl Into<String>, samples: &[Duration]) -> Self {
        Self::new(what, "ms", in_milliseconds(samples))
    }

    #[must_use]
    pub fn most(self, budget: f64) -> Self {
        Self { budget: Budget::Most(budget), ..self }
    }

    #[must_use]
    pub fn least(self, budget: f64) -> Self {
        Self { budget: Budget::Least(budget), ..self }
    }

    /// Samples are in this figure's unit.
    #[must_use]
    pub fn beside(mut self, who: &str, samples: impl Into<Vec<f64>>) -> Self {
        self.beside.push(Beside { who: who.to_owned(), samples: samples.into() });
        self
    }

    /// What counts of it.
    pub fn median(&self) -> f64 {
        median(&self.samples)
    }

    pub fn is_within_budget(&self) -> bool {
        self.budget.holds(self.median())
    }
}
