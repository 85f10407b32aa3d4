//! A few file descriptors kept back, so that a host whose connections use up all others can still look at its interfaces,
//! open their sockets, and so stay in its group.

use std::fs::File;

/// As many as one interface needs: its sockets, its listener, and the kernel's answer on what there is.
const SPARE: usize = 6;

/// The descriptors kept back.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<File>);

impl Spare {
    /// Keeps them back from now on, as far as there are any.
    pub(super) fn new() -> Self {
        let mut spare = Self::default();
        spare.keep();
        spare
    }

    /// Gives them free for a moment in which they are needed.
    pub(super) fn spend(&mut self) {
        self.0.clear();
    }

    /// Keeps back what is left of them after that, or is free again.
    pub(super) fn keep(&mut self) {
        while self.0.len() < SPARE
            && let Ok(file) = File::open("/dev/null")
        {
            self.0.push(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_back_is_free_when_it_is_needed() {
        let mut spare = Spare::new();
        assert_eq!(spare.0.len(), SPARE);
        spare.spend();
        assert!(spare.0.is_empty());
        spare.keep();
        assert_eq!(spare.0.len(), SPARE);
    }
}
