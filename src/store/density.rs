//! How much an item is worth its memory: by its hits per byte.

/// Bytes that an item costs in the index, about.
const INDEX_COST: u64 = 11;
/// How much of the newest cut there is in the density that items have to have.
const NEWEST_CUT: f32 = 0.2;

/// Hits per byte of an item that weighs so many. One that was never hit is worth something, too.
fn density(hits: u8, weight: u64) -> f32 {
    (f32::from(hits) + 0.5) / (weight + INDEX_COST) as f32
}

/// How dense an item has to be to join the main part: as dense as the sparsest that stayed there of late.
/// At first every item will do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cutoff(f32);

impl Cutoff {
    fn admits(self, hits: u8, weight: u64) -> bool {
        density(hits, weight) >= self.0
    }

    /// Moves towards where a cut fell.
    pub(super) fn approach(&mut self, cut: f32) {
        self.0 = if self.0 == 0.0 { cut } else { self.0 * (1.0 - NEWEST_CUT) + cut * NEWEST_CUT };
    }
}

/// Which items stay when their segment is emptied.
#[derive(Debug)]
pub(super) enum Rule {
    /// All that are alive.
    All,
    /// Those that the cutoff admits: they join the main part.
    Dense(Cutoff),
    /// Those above a step of density, and of those at it all but so many bytes, which go first.
    Densest { step: usize, going: u64 },
}

impl Rule {
    pub(super) fn keeps(&mut self, hits: u8, weight: u64) -> bool {
        match self {
            Rule::All => true,
            Rule::Dense(cutoff) => cutoff.admits(hits, weight),
            Rule::Densest { step: cut, going } => {
                let step = Densities::step(density(hits, weight));
                let goes = step < *cut || step == *cut && *going > 0;
                if goes && step == *cut {
                    *going = going.saturating_sub(weight);
                }
                !goes
            }
        }
    }
}

/// How many bytes there are of each density, in steps of a sixteenth of an octave.
#[derive(Debug)]
pub(super) struct Densities {
    bytes: [u64; Densities::STEPS],
}

impl Default for Densities {
    fn default() -> Densities {
        Densities { bytes: [0; Densities::STEPS] }
    }
}

impl Densities {
    const STEPS: usize = 512;
    /// What is cut off of the bits of a number to get its step.
    const SHIFT: u32 = 19;
    /// The step of 2 to the power of -32, below that of any density.
    const LOWEST: usize = ((127 - 32) << 23 >> Densities::SHIFT) as usize;

    fn step(density: f32) -> usize {
        let step = (density.to_bits() >> Densities::SHIFT) as usize;
        step.saturating_sub(Densities::LOWEST).min(Densities::STEPS - 1)
    }

    fn value(step: usize) -> f32 {
        f32::from_bits(((step + Densities::LOWEST) as u32) << Densities::SHIFT)
    }

    pub(super) fn add(&mut self, hits: u8, weight: u64) {
        self.bytes[Densities::step(density(hits, weight))] += weight;
    }

    /// The density at which the cut falls so that at most `bytes` stay, and the rule that does it.
    /// Of items that are equal the oldest go.
    pub(super) fn cut(&self, bytes: u64) -> (Option<f32>, Rule) {
        let mut left = bytes;
        for step in (0..Densities::STEPS).rev() {
            if self.bytes[step] > left {
                let going = self.bytes[step] - left;
                return (Some(Densities::value(step)), Rule::Densest { step, going });
            }
            left -= self.bytes[step];
        }
        (None, Rule::Densest { step: 0, going: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_leaves_no_more_bytes_than_were_asked_for_and_the_densest_and_newest() {
        let mut densities = Densities::default();
        let items = [(15, 100), (0, 100), (3, 1_000), (0, 1_000_000), (2, 50), (2, 50), (2, 50)];
        items.iter().for_each(|&(hits, weight)| densities.add(hits, weight));
        let (cut, mut rule) = densities.cut(220);
        let kept = items.map(|(hits, weight)| rule.keeps(hits, weight));
        assert_eq!(kept, [true, false, false, false, false, true, true]);
        assert!(cut.is_some_and(|cut| (0.035..0.0405).contains(&cut)), "{cut:?}");
        let (cut, mut rule) = densities.cut(u64::MAX);
        assert_eq!(cut, None);
        assert!(items.iter().all(|&(hits, weight)| rule.keeps(hits, weight)));
    }

    #[test]
    fn what_must_be_reached_follows_the_cuts_slowly() {
        let mut cutoff = Cutoff::default();
        assert!(cutoff.admits(0, 1 << 30), "as long as there was no cut all will do");
        cutoff.approach(1.5 / 100.0);
        assert!(cutoff.admits(1, 89) && !cutoff.admits(1, 90) && !cutoff.admits(0, 89));
        cutoff.approach(0.5 / 100.0);
        assert!(cutoff.admits(1, 100) && !cutoff.admits(0, 50));
        (0..30).for_each(|_| cutoff.approach(0.5 / 100.0));
        assert!(cutoff.admits(0, 88));
    }
}
