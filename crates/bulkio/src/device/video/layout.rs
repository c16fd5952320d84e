//! [`Layout`]: where the planes of a frame lie in its memory. Pure arithmetic.

use super::format::Plane;

/// Where planes lie, from the beginning of the frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    /// Beginning and length of each plane, in bytes.
    planes: Vec<(u64, u32)>,
    /// Where the last one ends.
    len: u64,
}

impl Layout {
    /// Planes one behind the other.
    pub(super) fn together(planes: &[Plane]) -> Self {
        Self::aligned(planes, 1, 1)
    }

    /// Planes on pages of their own, as long as these pages.
    pub(super) fn on_pages(planes: &[Plane], page_len: u32) -> Self {
        Self::aligned(planes, page_len, page_len)
    }

    fn aligned(planes: &[Plane], align: u32, len_align: u32) -> Self {
        let mut end = 0_u64;
        let place = |plane: &Plane| {
            let start = end.checked_next_multiple_of(align.into()).unwrap_or(u64::MAX);
            let len = plane.size_bytes.checked_next_multiple_of(len_align).unwrap_or(u32::MAX);
            end = start.saturating_add(len.into());
            (start, len)
        };
        let planes = planes.iter().map(place).collect();
        Self { planes, len: end }
    }

    /// Returns beginning and length of each plane, in bytes.
    pub(super) fn planes(&self) -> &[(u64, u32)] {
        &self.planes
    }

    /// Returns the bytes from the first plane's beginning to the last one's end.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_lie_together_or_on_pages() {
        let plane = |size_bytes| Plane { size_bytes, stride_bytes: 0 };
        let planes = [plane(5000), plane(1000), plane(4096)];
        let together = Layout::together(&planes);
        assert_eq!(
            (together.planes(), together.len()),
            (&[(0, 5000), (5000, 1000), (6000, 4096)][..], 10_096)
        );
        let paged = Layout::on_pages(&planes, 4096);
        assert_eq!((paged.planes(), paged.len()), (&[(0, 8192), (8192, 4096), (12_288, 4096)][..], 16_384));
        assert_eq!(Layout::together(&[plane(u32::MAX); 8]).len(), 8 * u64::from(u32::MAX));
    }
}
