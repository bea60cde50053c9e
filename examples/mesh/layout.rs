//! Who is whose neighbour, and who fails.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::faults::Fault;

/// How many times the faults are dealt out before it is called impossible.
const DEALS: u32 = 20_000;

pub(crate) struct Layout {
    pub(crate) neighbours: Vec<Vec<usize>>,
    pub(crate) faults: Vec<Option<Fault>>,
}

impl Layout {
    /// A ring with chords, and the faults on nodes whose loss leaves the others connected: where
    /// only a bad node leads to a good one, no gate could help.
    pub(crate) fn new(
        nodes: usize,
        degree: usize,
        faults: &[Fault],
        rng: &mut StdRng,
    ) -> Result<Self, String> {
        let neighbours = ring_with_chords(nodes, degree, rng);
        for _ in 0..DEALS {
            let dealt = deal(nodes, faults, rng);
            if is_fair(&neighbours, &dealt) {
                return Ok(Self { neighbours, faults: dealt });
            }
        }
        let lasting = faults.iter().filter(|fault| fault.lasts()).count();
        Err(format!(
            "--faults: {} faults, {lasting} of them lasting, do not fit into {nodes} nodes of \
             degree {degree} so that the lasting ones are not neighbours and the other nodes stay \
             connected: fewer faults, more --nodes or a higher --degree",
            faults.len()
        ))
    }
}

/// Each node gets `degree` neighbours, or one less where it does not come out even.
fn ring_with_chords(nodes: usize, degree: usize, rng: &mut StdRng) -> Vec<Vec<usize>> {
    let mut neighbours: Vec<Vec<usize>> =
        (0..nodes).map(|n| vec![(n + nodes - 1) % nodes, (n + 1) % nodes]).collect();
    let mut pairs: Vec<(usize, usize)> =
        (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b))).collect();
    pairs.shuffle(rng);
    for (a, b) in pairs {
        let room = neighbours[a].len() < degree && neighbours[b].len() < degree;
        if room && !neighbours[a].contains(&b) {
            neighbours[a].push(b);
            neighbours[b].push(a);
        }
    }
    neighbours
}

fn deal(nodes: usize, faults: &[Fault], rng: &mut StdRng) -> Vec<Option<Fault>> {
    let mut places: Vec<usize> = (0..nodes).collect();
    places.shuffle(rng);
    let mut dealt = vec![None; nodes];
    for (place, fault) in places.into_iter().zip(faults) {
        dealt[place] = Some(*fault);
    }
    dealt
}

/// Whether the nodes that stay bad can each be judged by good ones only, and the good ones reach
/// each other without them.
fn is_fair(neighbours: &[Vec<usize>], faults: &[Option<Fault>]) -> bool {
    let bad = |n: usize| faults[n].is_some_and(Fault::lasts);
    let apart = (0..faults.len()).all(|n| !bad(n) || !neighbours[n].iter().any(|m| bad(*m)));
    let mut reached: Vec<usize> = (0..faults.len()).find(|n| !bad(*n)).into_iter().collect();
    let mut next = 0;
    while next < reached.len() {
        for m in &neighbours[reached[next]] {
            if !bad(*m) && !reached.contains(m) {
                reached.push(*m);
            }
        }
        next += 1;
    }
    apart && reached.len() > 1 && reached.len() == (0..faults.len()).filter(|n| !bad(*n)).count()
}
