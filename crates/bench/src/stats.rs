//! Median and spread.

/// What the rounds of one row on one system come to, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The middle one; of an even number, the mean of the middle two.
    pub median: f64,
    /// The fastest round.
    pub min: f64,
    /// The slowest round.
    pub max: f64,
    /// How many there were.
    pub rounds: usize,
}

impl Summary {
    /// Nothing for no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max, rounds: sorted.len() })
    }

    /// Half of what lies between the fastest and the slowest round, as a part
    /// of the median.
    pub fn spread(&self) -> f64 {
        if self.median > 0.0 { (self.max - self.min) / 2.0 / self.median } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_of_nothing() {
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn the_middle_does_not_depend_on_order() {
        let odd = Summary::of(&[3.0, 1.0, 9.0]).unwrap();
        assert_eq!(odd, Summary { median: 3.0, min: 1.0, max: 9.0, rounds: 3 });
        let even = Summary::of(&[4.0, 1.0, 2.0, 9.0]).unwrap();
        assert_eq!(even, Summary { median: 3.0, min: 1.0, max: 9.0, rounds: 4 });
    }

    #[test]
    fn the_spread_is_a_part_of_the_median() {
        assert_eq!(Summary::of(&[3.0, 2.0, 5.0]).unwrap().spread(), 0.5);
        assert_eq!(Summary::of(&[4.0]).unwrap().spread(), 0.0);
        assert_eq!(Summary::of(&[0.0, 0.0]).unwrap().spread(), 0.0);
    }
}
