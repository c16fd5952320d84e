//! Latencies in buckets: exact below 64 ns, above it 32 buckets to each power of two, so within 3 %.
//!
//! Of a fixed size, so a clock per operation is all that measuring costs.

const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUB;

pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    pub(super) fn add(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// The least bucket that at least `share` (0 to 1) of all are not above, by its lowest value.
    pub(super) fn percentile_ns(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0);
        let mut seen = 0_u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                return lowest(bucket) as f64;
            }
        }
        f64::NAN
    }
}

fn bucket(ns: u64) -> usize {
    let exponent = ns.checked_ilog2().unwrap_or(0).saturating_sub(SUB_BITS);
    // At most 2 * SUB: lossless.
    exponent as usize * SUB + (ns >> exponent) as usize
}

fn lowest(bucket: usize) -> u64 {
    let exponent = (bucket / SUB).saturating_sub(1);
    ((bucket - exponent * SUB) as u64) << exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_within_three_percent() {
        for ns in (0..100_000).chain([u64::MAX / 3, u64::MAX - 1, u64::MAX]) {
            let low = lowest(bucket(ns));
            assert!(low <= ns && ns - low <= ns / 32, "{ns}: {low}");
            assert!(bucket(ns) < BUCKETS);
        }
    }

    #[test]
    fn percentiles() {
        let mut histogram = Histogram::new();
        assert!(histogram.percentile_ns(0.5).is_nan());
        (1..=1000).for_each(|ns| histogram.add(ns));
        assert_eq!(histogram.percentile_ns(0.05), 50.0);
        assert!((484.0..=500.0).contains(&histogram.percentile_ns(0.5)));
        assert!((967.0..=999.0).contains(&histogram.percentile_ns(0.999)));
    }
}
