//! How many seats each level has: nominally by its shares, and for now by what it and the others want.
//!
//! A level lends what it does not use, and takes it back when it wants it (Kubernetes concept: "API Priority and
//! Fairness", seats borrowing). Pure.

/// What a PriorityLevelConfiguration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shares {
    pub nominal: i32,
    pub lendable_percent: i32,
    /// `None`: it may borrow as much as there is.
    pub borrowing_limit_percent: Option<i32>,
}

/// Seats of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub nominal: usize,
    /// With all lent that may be.
    pub min: usize,
    /// With all borrowed that may be.
    pub max: usize,
}

impl Bounds {
    /// What a level begins with: half of what it may lend is lent.
    pub fn initial(&self) -> usize {
        self.nominal - (self.nominal - self.min) / 2
    }
}

/// The seats of all levels together may be a few more than `total`: each is rounded up.
pub fn bounds(total: usize, levels: &[Shares]) -> Vec<Bounds> {
    let sum: f64 = levels.iter().map(|shares| f64::from(shares.nominal)).sum();
    let of = |shares: &Shares| {
        let nominal = if sum > 0.0 { (total as f64 * f64::from(shares.nominal) / sum).ceil() } else { 0.0 };
        let percent = |percent: i32| (nominal * f64::from(percent) / 100.0).round() as usize;
        let nominal_seats = nominal as usize;
        let borrowed = shares.borrowing_limit_percent.map_or(total, percent);
        Bounds {
            nominal: nominal_seats,
            min: nominal_seats.saturating_sub(percent(shares.lendable_percent)),
            max: nominal_seats + borrowed,
        }
    };
    levels.iter().map(of).collect()
}

/// A level, and what it wanted in the last period.
#[derive(Clone, Copy, Debug)]
pub struct Party {
    pub bounds: Bounds,
    pub is_exempt: bool,
    /// The most seats that were wanted at once.
    pub peak: usize,
    /// Wanted seats, smoothed.
    pub smoothed: f64,
}

impl Party {
    /// It keeps what it used of its own, and never less than what it may not lend.
    fn least(&self) -> usize {
        let own = if self.is_exempt { self.peak } else { self.peak.min(self.bounds.nominal) };
        self.bounds.min.max(own)
    }

    fn target(&self) -> f64 {
        self.smoothed.max(self.least() as f64)
    }
}

/// The seats of each level until the next adjustment, and what fraction of its target each level gets that meets no
/// bound.
pub fn borrow(parties: &[Party]) -> (Vec<usize>, f64) {
    let total: usize = parties.iter().map(|party| party.bounds.nominal).sum();
    let limited = || parties.iter().filter(|party| !party.is_exempt);
    let exempt: usize = parties.iter().filter(|party| party.is_exempt).map(Party::least).sum();
    let left = total.saturating_sub(exempt);
    let (least_sum, min_sum) =
        (limited().map(Party::least).sum::<usize>(), limited().map(|party| party.bounds.min).sum::<usize>());
    let share: Box<dyn Fn(&Party) -> usize> = if left <= min_sum {
        Box::new(|party| party.bounds.min)
    } else if left <= least_sum {
        let part = (left - min_sum) as f64 / (least_sum - min_sum) as f64;
        Box::new(move |party| party.bounds.min + ((party.least() - party.bounds.min) as f64 * part).round() as usize)
    } else {
        let items: Vec<Item> = limited().map(Item::of).collect();
        let fraction = fair_fraction(total as f64, &items);
        let seats =
            |party: &Party| if party.is_exempt { party.least() } else { Item::of(party).at(fraction).round() as usize };
        return (parties.iter().map(seats).collect(), fraction);
    };
    let seats = |party: &Party| if party.is_exempt { party.least() } else { share(party) };
    (parties.iter().map(seats).collect(), 0.0)
}

struct Item {
    least: f64,
    most: f64,
    target: f64,
}

impl Item {
    /// A target of nothing would never grow with the fraction.
    const TARGET_MIN: f64 = 0.001;

    fn of(party: &Party) -> Self {
        let least = party.least() as f64;
        Self { least, most: (party.bounds.max as f64).max(least), target: party.target().max(Self::TARGET_MIN) }
    }

    fn at(&self, fraction: f64) -> f64 {
        (fraction * self.target).clamp(self.least, self.most)
    }
}

/// The fraction of their targets at which all seats are given away. What is given grows with the fraction in straight
/// pieces, bent where an item meets a bound: the piece that holds the answer is found, and the answer on it.
fn fair_fraction(total: f64, items: &[Item]) -> f64 {
    let given = |fraction: f64| items.iter().map(|item| item.at(fraction)).sum::<f64>();
    let mut bends: Vec<f64> =
        items.iter().flat_map(|item| [item.least / item.target, item.most / item.target]).collect();
    bends.sort_by(f64::total_cmp);
    let Some(above) = bends.iter().position(|bend| given(*bend) >= total) else {
        return bends.last().copied().unwrap_or_default();
    };
    let Some(below) = above.checked_sub(1) else { return bends[above] };
    let (from, to) = (bends[below], bends[above]);
    let (low, high) = (given(from), given(to));
    if high > low { from + (to - from) * (total - low) / (high - low) } else { to }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upstream's standard levels with its default flags.
    #[test]
    fn standard_seats_are_upstreams() {
        let shares = [(0, 0), (5, 0), (30, 33), (40, 25), (10, 0), (40, 50), (100, 90), (20, 50)];
        let shares = shares.map(|(nominal, lendable_percent)| Shares {
            nominal,
            lendable_percent,
            borrowing_limit_percent: None,
        });
        let seats: Vec<_> = bounds(600, &shares).iter().map(|bounds| (bounds.nominal, bounds.min)).collect();
        assert_eq!(seats, [(0, 0), (13, 13), (74, 50), (98, 73), (25, 25), (98, 49), (245, 24), (49, 24)]);
        assert_eq!(bounds(600, &shares)[7].max, 649);
    }

    fn party(nominal: usize, min: usize, max: usize, peak: usize, smoothed: f64) -> Party {
        Party { bounds: Bounds { nominal, min, max }, is_exempt: false, peak, smoothed }
    }

    #[test]
    fn seats_go_where_they_are_wanted() {
        // Nobody wants anything: all is shared out all the same.
        let idle = [party(50, 25, 150, 0, 0.0), party(50, 50, 150, 0, 0.0)];
        assert_eq!(borrow(&idle).0.iter().sum::<usize>(), 100);
        // The first wants twice its own; the second does not, and keeps what it may not lend.
        let (seats, _) = borrow(&[party(50, 0, 150, 100, 100.0), party(50, 20, 150, 0, 0.0)]);
        assert_eq!(seats, [80, 20]);
        // Both want more than there is: in proportion, and nobody less than its own.
        let (seats, fraction) = borrow(&[party(50, 0, 150, 200, 200.0), party(50, 0, 150, 100, 100.0)]);
        assert_eq!(seats, [50, 50]);
        assert!(fraction <= 0.51, "{fraction}");
        // A bound on what is borrowed holds.
        let (seats, _) = borrow(&[party(50, 0, 60, 200, 200.0), party(50, 0, 150, 0, 0.0)]);
        assert_eq!(seats, [60, 40]);
    }

    #[test]
    fn the_exempt_take_first() {
        let exempt = Party { is_exempt: true, ..party(0, 0, 0, 60, 0.0) };
        let (seats, _) = borrow(&[exempt, party(50, 10, 150, 50, 50.0), party(50, 20, 150, 50, 50.0)]);
        assert_eq!(seats, [60, 16, 24]);
        let exempt = Party { is_exempt: true, ..party(0, 0, 0, 90, 0.0) };
        let (seats, _) = borrow(&[exempt, party(50, 10, 150, 50, 50.0), party(50, 20, 150, 50, 50.0)]);
        assert_eq!(seats, [90, 10, 20]);
    }
}
