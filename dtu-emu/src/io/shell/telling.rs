//! The part of [`Shell`] that tells a DTU which beacons were heard.

use super::Shell;

impl Shell {
    /// Tells a DTU which beacons were heard since it was last told.
    pub(super) fn catch_up(&mut self, desk: usize) {
        let slot = &mut self.slots[desk];
        let news = self.beacons.news(&mut slot.cursor);
        // All that it only knows comes before anything that may make it judge.
        let heeded: Vec<_> =
            news.into_iter().filter(|heard| !slot.dtu.note(&heard.beacon, heard.from, heard.at)).collect();
        for heard in heeded {
            self.hand_in(desk, heard.input());
        }
    }

    /// Tells a DTU of the newest beacon, which it goes by; and of all others, if it has to judge now.
    pub(super) fn tell_newest(&mut self, desk: usize) {
        let now = self.clock.now();
        let slot = &mut self.slots[desk];
        if slot.dtu.poll_at().is_some_and(|due| due <= now) {
            self.catch_up(desk);
        } else if let Some(heard) = self.beacons.newest(&mut slot.cursor) {
            self.hand_in(desk, heard.input());
        }
    }
}
