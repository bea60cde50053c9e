//! Which class of peers gets the next concurrency slot: the shares of the living, of peers in trouble,
//! and of strangers (D4).
//!
//! This is pure arithmetic on counts. From the first answer of any peer on:
//!
//! 1. Strangers and peers in trouble hold at most half of the slots, at least one. The dead can take no
//!    more from the living, whether the living wait or not.
//! 2. In that half strangers hold at most half, at least one. While a stranger waits, peers in
//!    trouble leave that part to strangers.
//! 3. A peer that answered before and of which there is good news goes first, and may use any slot.
//! 4. Of the classes that have less than their part, the one goes next that got a slot longest ago. So
//!    a class whose part is a fraction of a slot gets that fraction in turn.
//!
//! Before the first answer no class has a share, and the request that is due first goes first.

use crate::time::Tick;

/// What a peer is when an attempt with it requests a concurrency slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum PeerClass {
    /// The peer answered before and is in trouble, and there was good news of it (D6).
    News,
    /// The peer answered before and is well.
    Healthy,
    /// The peer answered before, and its streak is running or its circuit is not closed.
    Troubled,
    /// No success of the peer was recorded.
    Stranger,
}

/// All classes, in the order of [`PeerClass::index`].
pub(super) const PEER_CLASSES: [PeerClass; 4] =
    [PeerClass::News, PeerClass::Healthy, PeerClass::Troubled, PeerClass::Stranger];

impl PeerClass {
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// The concurrency slots, and how many of them each class holds.
#[derive(Debug)]
pub(super) struct ConcurrencySlots {
    all: usize,
    held: [usize; 4],
    /// The number of the grant that last went to each class.
    given: [u64; 4],
    grants: u64,
    /// Set once any peer has answered.
    answered: bool,
}

impl ConcurrencySlots {
    pub(super) fn new(all: usize) -> Self {
        Self { all, held: [0; 4], given: [0; 4], grants: 0, answered: false }
    }

    /// Notes that a peer has answered: from now on the dead hold no more than half.
    pub(super) fn note_answer(&mut self) {
        self.answered = true;
    }

    fn held(&self, class: PeerClass) -> usize {
        self.held[class.index()]
    }

    /// Returns the class that gets the next slot, if there is one for any class that waits. `waiting`
    /// says since when the first request of each class is due.
    pub(super) fn next(&self, waiting: [Option<Tick>; 4]) -> Option<PeerClass> {
        let due = |class: PeerClass| waiting[class.index()];
        let waits = |class: &PeerClass| due(*class).is_some();
        if self.held.iter().sum::<usize>() >= self.all {
            return None;
        }
        if waits(&PeerClass::News) {
            return Some(PeerClass::News);
        }
        if !self.answered {
            return PEER_CLASSES.into_iter().filter(waits).min_by_key(|class| due(*class));
        }
        let half = (self.all / 2).max(1);
        let share = (half / 2).max(1);
        let rest = if waits(&PeerClass::Stranger) { (half - share).max(1) } else { half };
        let room = self.held(PeerClass::Troubled) + self.held(PeerClass::Stranger) < half;
        let living = self.held(PeerClass::News) + self.held(PeerClass::Healthy);
        let has_less_than_its_part = |class: &PeerClass| match class {
            PeerClass::News | PeerClass::Healthy => living < (self.all - half).max(1),
            PeerClass::Troubled => room && self.held(PeerClass::Troubled) < rest,
            PeerClass::Stranger => room && self.held(PeerClass::Stranger) < share,
        };
        let next = PEER_CLASSES.into_iter().filter(waits).filter(has_less_than_its_part);
        let next = next.min_by_key(|class| self.given[class.index()]);
        // The living get what other classes have no right to, or no use for.
        next.or(Some(PeerClass::Healthy).filter(waits))
    }

    /// Gives a slot to this class, which was [`next`](Self::next).
    pub(super) fn give(&mut self, class: PeerClass) {
        self.grants += 1;
        self.given[class.index()] = self.grants;
        self.held[class.index()] += 1;
    }

    /// Frees a slot of this class.
    pub(super) fn release(&mut self, class: PeerClass) {
        let held = &mut self.held[class.index()];
        *held = held.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PeerClass::{Healthy, News, Stranger, Troubled};

    /// Each of these classes has requests without end.
    fn endless(classes: &[PeerClass]) -> [Option<Tick>; 4] {
        PEER_CLASSES.map(|class| classes.contains(&class).then_some(Tick(1)))
    }

    /// Gives all slots that these classes may have.
    fn fill(slots: &mut ConcurrencySlots, classes: &[PeerClass]) -> [usize; 4] {
        while let Some(class) = slots.next(endless(classes)) {
            slots.give(class);
        }
        slots.held
    }

    fn answered(all: usize) -> ConcurrencySlots {
        let mut slots = ConcurrencySlots::new(all);
        slots.note_answer();
        slots
    }

    #[test]
    fn before_the_first_answer_who_is_due_first_goes_first() {
        let mut slots = ConcurrencySlots::new(3);
        assert_eq!(fill(&mut slots, &[Stranger]), [0, 0, 0, 3]);
        let slots = ConcurrencySlots::new(3);
        let next = slots.next([None, Some(Tick(3)), Some(Tick(2)), Some(Tick(1))]);
        assert_eq!(next, Some(Stranger));
    }

    #[test]
    fn the_dead_hold_at_most_half_and_strangers_half_of_that_whoever_waits() {
        assert_eq!(fill(&mut answered(64), &[Stranger]), [0, 0, 0, 16]);
        assert_eq!(fill(&mut answered(64), &[Troubled]), [0, 0, 32, 0]);
        assert_eq!(fill(&mut answered(64), &[Troubled, Stranger]), [0, 0, 16, 16]);
        assert_eq!(fill(&mut answered(64), &[Healthy, Troubled, Stranger]), [0, 32, 16, 16]);
        assert_eq!(fill(&mut answered(64), &[Healthy]), [0, 64, 0, 0]);
        assert_eq!(fill(&mut answered(64), &[News, Healthy, Stranger]), [64, 0, 0, 0]);
        for (all, held) in [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (8, 2)] {
            assert_eq!(fill(&mut answered(all), &[Stranger])[3], held, "{all}");
        }
    }

    #[test]
    fn the_share_of_strangers_is_lent_to_peers_in_trouble_while_none_waits() {
        let mut slots = answered(64);
        assert_eq!(fill(&mut slots, &[Troubled]), [0, 0, 32, 0]);
        assert_eq!(slots.next(endless(&[Troubled, Stranger])), None, "the half is taken");
        for _ in 0..16 {
            slots.release(Troubled);
        }
        assert_eq!(fill(&mut slots, &[Troubled, Stranger]), [0, 0, 16, 16], "and given back");
    }

    #[test]
    fn a_few_places_go_round_so_that_nobody_waits_for_ever() {
        for all in [1, 2, 3, 4, 7] {
            let (mut slots, mut given) = (answered(all), [0; 4]);
            let everybody = [Healthy, Troubled, Stranger];
            fill(&mut slots, &everybody);
            // Calls end in the order in which they began.
            let mut running: std::collections::VecDeque<PeerClass> = PEER_CLASSES
                .into_iter()
                .flat_map(|class| std::iter::repeat_n(class, slots.held(class)))
                .collect();
            for _ in 0..1200 {
                slots.release(running.pop_front().unwrap());
                while let Some(class) = slots.next(endless(&everybody)) {
                    slots.give(class);
                    running.push_back(class);
                    given[class.index()] += 1;
                }
            }
            let quarter = 1200 / 4 / all;
            assert!(given[1..].iter().all(|n| *n >= quarter), "{all} slots: {given:?}");
        }
    }

    /// Among those who have less than their part it goes round; the part of the living is the other
    /// half, and what they hold beyond it is given when nobody else is to have it.
    #[test]
    fn the_living_take_their_turn_until_they_have_their_half() {
        for (news, healthy, next) in [(0, 3, Healthy), (0, 4, Stranger), (1, 3, Stranger)] {
            let mut slots = answered(8);
            (0..news).for_each(|_| slots.give(News));
            (0..healthy).for_each(|_| slots.give(Healthy));
            slots.give(Stranger);
            let given = slots.next(endless(&[Healthy, Stranger]));
            assert_eq!(given, Some(next), "{news} and {healthy} of eight");
        }
    }

    #[test]
    fn the_living_use_what_is_free_and_give_it_back_to_those_who_have_less_than_their_part() {
        let mut slots = answered(8);
        assert_eq!(fill(&mut slots, &[Healthy]), [0, 8, 0, 0]);
        slots.release(Healthy);
        assert_eq!(slots.next(endless(&[Healthy, Stranger])), Some(Stranger));
        slots.give(Stranger);
        for _ in 0..4 {
            slots.release(Healthy);
        }
        assert_eq!(fill(&mut slots, &[Healthy, Troubled, Stranger]), [0, 4, 2, 2]);
    }
}
