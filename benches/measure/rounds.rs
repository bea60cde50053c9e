//! Interleaved rounds, and medians of what they give.

use super::Trouble;

/// Measures one side once.
pub(crate) type Side<'a> = Box<dyn FnMut() -> Result<f64, Trouble> + 'a>;

/// What each side gave, round by round.
pub(crate) struct Rounds(Vec<Vec<f64>>);

/// Measures each side in turn, so many times, after once for warming up. Tells what was found.
pub(crate) fn rounds<const N: usize>(
    count: usize,
    sides: [(&str, Side<'_>); N],
) -> Result<Rounds, Trouble> {
    let names = sides.each_ref().map(|(name, _)| name.to_string());
    let found = rounds_of(count, sides.into())?;
    for (n, name) in names.iter().enumerate() {
        eprintln!("  {name} {:.1} ns", found.of(n));
    }
    Ok(found)
}

/// [`rounds`] of as many sides as there are.
pub(crate) fn rounds_of(count: usize, mut sides: Vec<(&str, Side<'_>)>) -> Result<Rounds, Trouble> {
    let mut all = Vec::new();
    for round in 0..=count {
        let mut given = vec![0.0; sides.len()];
        for n in 0..sides.len() {
            // Every round begins with another side.
            let n = (n + round) % sides.len();
            given[n] = sides[n].1()?;
        }
        if round > 0 {
            all.push(given);
        }
    }
    Ok(Rounds(all))
}

impl Rounds {
    /// The median of one side.
    pub(crate) fn of(&self, side: usize) -> f64 {
        median(self.0.iter().map(|round| round[side]))
    }

    /// The median of the ratios of two sides.
    pub(crate) fn ratio(&self, side: usize, to: usize) -> f64 {
        median(self.0.iter().map(|round| round[side] / round[to]))
    }
}

/// The median; of an even number, the mean of the two in the middle. NaN of nothing.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => f64::NAN,
        Some(upper) if values.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(values[middle - 1], *upper),
    }
}
