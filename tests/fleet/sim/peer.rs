//! How a made-up peer behaves: what it answers to a call that begins at a time, and after how long.
//!
//! Pure: times are milliseconds since the simulation began, chance is a hash of seed and numbers.

/// How a peer fails, while it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failing {
    /// Never answers: the deadline of the attempt ends the call.
    Silent,
    /// Refuses at once.
    Refuses,
    /// Answers something that is not of the protocol.
    Garbage,
}

/// What a peer does all the time. Times are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Answers within its latency.
    Healthy,
    /// Answers, after so long.
    Slow(u64),
    /// Each nth call fails.
    Flaky(u32),
    /// Fails each call.
    Dead(Failing),
    /// Takes each call, and loses the connection a tenth of a second later.
    Drops,
    /// Fails each call, and calls this node once a second.
    Calls(Failing),
    /// Serves a corrupt document.
    Corrupt,
    /// This node cannot call it, for a reason of its own.
    Local,
    /// Is away from one time to another, and calls this node when it is back, if it is told to.
    Away { how: Failing, from: u64, to: u64, news: bool },
    /// Goes down and comes back, again and again.
    Flaps { how: Failing, down: u64, up: u64 },
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Well,
    Fails(Failing),
    Corrupt,
    Local,
}

/// One peer: its behaviour, how far its cycle is ahead, and its latency.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) behaviour: Behaviour,
    pub(crate) ahead: u64,
    pub(crate) latency: u64,
}

impl Behaviour {
    /// Whether the peer answers all calls, so that each of its rounds should be served (W1).
    pub(crate) fn is_healthy(self) -> bool {
        matches!(self, Self::Healthy | Self::Slow(_))
    }

    /// Whether the peer fails all calls, by the words of W2.
    pub(crate) fn is_dead(self) -> bool {
        matches!(self, Self::Dead(_) | Self::Calls(_))
    }

    /// Whether the peer answers at times and is in trouble at times.
    pub(crate) fn is_unsteady(self) -> bool {
        matches!(self, Self::Away { .. } | Self::Flaps { .. } | Self::Drops | Self::Flaky(_))
    }

    /// How long a time of being down lasts.
    pub(crate) fn down_for(self) -> Option<u64> {
        match self {
            Self::Away { from, to, .. } => Some(to.saturating_sub(from)),
            Self::Flaps { down, .. } => Some(down),
            _ => None,
        }
    }
}

impl Peer {
    /// Whether the peer is there at this time.
    pub(crate) fn is_up(&self, now: u64) -> bool {
        match self.behaviour {
            Behaviour::Dead(_) | Behaviour::Calls(_) => false,
            Behaviour::Away { from, to, .. } => !(from..to).contains(&now),
            Behaviour::Flaps { down, up, .. } => (now + self.ahead) % (down + up) < up,
            _ => true,
        }
    }

    /// How many times the peer has gone down before that time.
    pub(crate) fn downs(&self, now: u64) -> usize {
        match self.behaviour {
            Behaviour::Flaps { down, up, .. } => ((now + self.ahead) / (down + up)) as usize,
            _ => 0,
        }
    }

    /// When the peer goes down or comes back next, after that time.
    pub(crate) fn next_change(&self, now: u64) -> Option<u64> {
        match self.behaviour {
            Behaviour::Away { from, to, .. } => [from, to].into_iter().find(|at| *at > now),
            Behaviour::Flaps { down, up, .. } => {
                let at = (now + self.ahead) % (down + up);
                Some(now + if at < up { up - at } else { down + up - at })
            }
            _ => None,
        }
    }

    /// What becomes of the `n`th call, which begins at that time.
    pub(crate) fn answer(&self, now: u64, n: u32) -> Answer {
        let failing = |how| if self.is_up(now) { Answer::Well } else { Answer::Fails(how) };
        match self.behaviour {
            Behaviour::Healthy | Behaviour::Slow(_) | Behaviour::Drops => Answer::Well,
            Behaviour::Flaky(each) if n.is_multiple_of(each) => Answer::Fails(Failing::Refuses),
            Behaviour::Flaky(_) => Answer::Well,
            Behaviour::Dead(how) | Behaviour::Calls(how) => Answer::Fails(how),
            Behaviour::Away { how, .. } | Behaviour::Flaps { how, .. } => failing(how),
            Behaviour::Corrupt => Answer::Corrupt,
            Behaviour::Local => Answer::Local,
        }
    }

    /// How long the `n`th call takes to be answered so; none if it never is.
    pub(crate) fn takes(&self, answer: Answer, chance: f64) -> Option<u64> {
        match answer {
            Answer::Well => Some((self.latency as f64 * (0.8 + 0.4 * chance)) as u64),
            Answer::Fails(Failing::Silent) => None,
            Answer::Fails(Failing::Refuses) | Answer::Local => Some(2),
            Answer::Fails(Failing::Garbage) | Answer::Corrupt => Some(50),
        }
    }
}

/// A number from [0, 1) that depends on nothing but these (SplitMix64).
pub(crate) fn chance(seed: u64, who: u64, what: u64) -> f64 {
    let mut x = seed ^ who.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ what.rotate_left(40);
    for _ in 0..2 {
        x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
    }
    (x >> 11) as f64 / (1_u64 << 53) as f64
}
