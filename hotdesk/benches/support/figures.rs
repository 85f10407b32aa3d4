//! Values of one kind, and the table they end in.

use std::time::Duration;

/// Values of one kind, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    pub(crate) fn add(&mut self, value: Duration) {
        self.0.push(value.as_secs_f64() * 1e3);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that `share` of 100 are not above (nearest rank); 0 of none.
    pub(crate) fn at(&self, share: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = (sorted.len() * share).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(50)
    }

    /// One line of a table: `what`, how many, min, median, p99 and max.
    pub(crate) fn row(&self, what: &str) -> String {
        let [min, median, p99, max] = [0, 50, 99, 100].map(|share| self.at(share));
        format!("{what:<44} {:>5} {min:>9.3} {median:>9.3} {p99:>9.3} {max:>9.3}", self.len())
    }
}

/// The head of a table of [`Figures::row`]s.
pub(crate) fn head(title: &str) -> String {
    format!("{title:<44} {:>5} {:>9} {:>9} {:>9} {:>9}", "n", "min ms", "median", "p99", "max")
}
