//! Which key comes next, and what its value is.

use std::str::FromStr;

/// Room for the start of a value, so that values of different keys differ.
const OFFSETS: usize = 4096;
/// What each key starts with; the number follows, always as many digits.
const PREFIX: &str = "key:";
const DIGITS: usize = 12;
/// Length of every key.
pub(super) const KEY: usize = PREFIX.len() + DIGITS;

/// Random numbers, good enough to choose keys with and the same in each run (splitmix64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0 and less than `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// At least 0 and less than 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How often each key is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Distribution {
    Uniform,
    Zipf(f64),
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Distribution, String> {
        let theta =
            || text.strip_prefix("zipf:")?.parse().ok().filter(|t| (0.01..=5.0).contains(t));
        match text {
            "uniform" => Ok(Distribution::Uniform),
            _ => theta()
                .map(Distribution::Zipf)
                .ok_or_else(|| String::from("write uniform or zipf:THETA, 0.01 to 5")),
        }
    }
}

/// Chooses among keys numbered from 0.
pub(super) enum Chooser {
    Uniform { keys: u64 },
    Zipf(Zipf),
}

impl Chooser {
    pub(super) fn new(distribution: Distribution, keys: u64) -> Chooser {
        match distribution {
            Distribution::Uniform => Chooser::Uniform { keys },
            Distribution::Zipf(theta) => Chooser::Zipf(Zipf::new(theta, keys)),
        }
    }

    pub(super) fn choose(&self, random: &mut Random) -> u64 {
        match self {
            Chooser::Uniform { keys } => random.below(*keys),
            Chooser::Zipf(zipf) => zipf.choose(random),
        }
    }
}

/// Zipf's distribution by rejection-inversion (Hörmann and Derflinger, 1996): no table, any theta.
pub(super) struct Zipf {
    theta: f64,
    keys: f64,
    first: f64,
    last: f64,
    sure: f64,
}

impl Zipf {
    fn new(theta: f64, keys: u64) -> Zipf {
        let mut zipf = Zipf { theta, keys: keys as f64, first: 0.0, last: 0.0, sure: 0.0 };
        zipf.first = zipf.integral(1.5) - 1.0;
        zipf.last = zipf.integral(zipf.keys + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    fn density(&self, x: f64) -> f64 {
        x.powf(-self.theta)
    }

    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let scaled = (1.0 - self.theta) * log;
        if scaled.abs() < 1e-9 { log } else { scaled.exp_m1() / scaled * log }
    }

    fn inverse(&self, area: f64) -> f64 {
        let scaled = ((1.0 - self.theta) * area).max(-1.0);
        if scaled.abs() < 1e-9 { area.exp() } else { (scaled.ln_1p() / scaled * area).exp() }
    }

    fn choose(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.last + random.unit() * (self.first - self.last);
            let x = self.inverse(area);
            let rank = x.round().clamp(1.0, self.keys);
            if rank - x <= self.sure || area >= self.integral(rank + 0.5) - self.density(rank) {
                return rank as u64 - 1;
            }
        }
    }
}

/// Appends the name of key `number`.
pub(super) fn push_key(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(PREFIX.as_bytes());
    let mut digits = [b'0'; DIGITS];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

/// The number of the key with this name.
pub(super) fn number(key: &[u8]) -> Option<u64> {
    let digits = key.strip_prefix(PREFIX.as_bytes()).filter(|digits| digits.len() == DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Sizes of values: all between two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sizes {
    pub(crate) least: usize,
    pub(crate) most: usize,
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        match (least.parse(), most.parse()) {
            (Ok(least), Ok(most)) if least <= most && most <= 64 << 20 => Ok(Sizes { least, most }),
            _ => Err(String::from("write BYTES or LEAST-MOST, at most 67108864")),
        }
    }
}

/// Values that tell which key they belong to, whatever their size.
pub(super) struct Values {
    noise: Vec<u8>,
    sizes: Sizes,
}

impl Values {
    pub(super) fn new(sizes: Sizes) -> Values {
        let mut random = Random::new(1);
        let noise = (0..sizes.most + OFFSETS).map(|_| b'0' + (random.below(64) as u8)).collect();
        Values { noise, sizes }
    }

    fn of(&self, key: u64, size: usize) -> &[u8] {
        let start = Random::new(key).below(OFFSETS as u64) as usize;
        &self.noise[start..start + size]
    }

    pub(super) fn choose(&self, key: u64, random: &mut Random) -> &[u8] {
        let range = (self.sizes.most - self.sizes.least) as u64 + 1;
        self.of(key, self.sizes.least + random.below(range) as usize)
    }

    pub(super) fn most(&self) -> usize {
        self.sizes.most
    }

    /// Whether this is a value that `key` can have.
    pub(super) fn is_right(&self, key: u64, value: &[u8]) -> bool {
        (self.sizes.least..=self.sizes.most).contains(&value.len())
            && self.of(key, value.len()) == value
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn zipf_follows_its_law() {
        for theta in [0.5, 0.9, 1.0, 1.3] {
            let (chooser, keys) = (Chooser::new(Distribution::Zipf(theta), 1000), 1000);
            let (mut random, mut counts) = (Random::new(7), vec![0_u32; keys]);
            for _ in 0..200_000 {
                counts[chooser.choose(&mut random) as usize] += 1;
            }
            let whole: f64 = (1..=keys).map(|rank| (rank as f64).powf(-theta)).sum();
            for rank in [1, 2, 10] {
                let expected = 200_000.0 * (rank as f64).powf(-theta) / whole;
                let off = (f64::from(counts[rank - 1]) - expected).abs();
                assert!(
                    off < 5.0 * expected.sqrt(),
                    "{theta} {rank}: {} {expected}",
                    counts[rank - 1]
                );
            }
        }
    }

    #[test]
    fn one_key_is_always_chosen() {
        for distribution in ["uniform", "zipf:0.99", "zipf:1"] {
            let chooser = Chooser::new(distribution.parse().unwrap(), 1);
            assert_eq!(chooser.choose(&mut Random::new(3)), 0);
        }
    }

    #[test]
    fn a_key_is_recognised_and_its_value_told_from_others() {
        let mut name = Vec::new();
        push_key(&mut name, 1234);
        assert_eq!((name.as_slice(), number(&name)), (&b"key:000000001234"[..], Some(1234)));
        assert_eq!(number(b"key:1234"), None);
        let values = Values::new("10-20".parse().unwrap());
        let value = values.choose(1, &mut Random::new(1));
        assert!(values.is_right(1, value));
        assert!(!values.is_right(2, value) && !values.is_right(1, &value[..9]));
    }

    #[test]
    fn what_is_no_size_and_no_distribution_is_refused() {
        for text in ["", "x", "5-4", "1-", "67108865"] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
        for text in ["", "zipf", "zipf:0", "zipf:x", "zipf:NaN"] {
            assert!(text.parse::<Distribution>().is_err(), "{text}");
        }
    }
}
