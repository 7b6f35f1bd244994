// SPDX-License-Identifier: MPL-2.0

//! Selection of the largest values; among equal ones, those that PyTorch selects.
//!
//! A frame in which two people speak may be in the speaker cache twice, so equal scores are common,
//! and the choice between them changes the rows of the cache. `torch.topk` on the CPU leaves that
//! choice to the C++ library's `nth_element`. To match NeMo, this is the algorithm of GCC's library.
//!
//! Source: D. Musser, "Introspective Sorting and Selection Algorithms", 1997: quickselect with the
//! median of three, and insertion sort at the end.

/// A value and its index.
type Item = (f32, usize);

/// Returns the indices of the `count` largest `values`, in no particular order.
pub fn top_k(values: &[f32], count: usize) -> Vec<usize> {
    let mut items: Vec<Item> = values.iter().copied().enumerate().map(|(i, v)| (v, i)).collect();
    let count = count.min(items.len());
    if count > 0 {
        select(&mut items, count - 1);
    }
    items[..count].iter().map(|&(_, place)| place).collect()
}

fn before(a: Item, b: Item) -> bool {
    a.0 > b.0
}

/// Moves the `nth` item to its place in descending order, with all larger ones before it.
fn select(items: &mut [Item], nth: usize) {
    let (mut first, mut last) = (0, items.len());
    let mut rounds = 2 * items.len().ilog2();
    while last - first > 3 {
        if rounds == 0 {
            break;
        }
        rounds -= 1;
        let cut = partition(items, first, last);
        if cut <= nth {
            first = cut;
        } else {
            last = cut;
        }
    }
    // The sort is stable like an insertion sort.
    items[first..last].sort_by(|a, b| b.0.total_cmp(&a.0));
}

/// Splits `first..last` around its median of three, and returns the start of the second part.
fn partition(items: &mut [Item], first: usize, last: usize) -> usize {
    let median = median_of_three(items, first + 1, first + (last - first) / 2, last - 1);
    items.swap(first, median);
    let pivot = items[first];
    let (mut low, mut high) = (first + 1, last);
    loop {
        while before(items[low], pivot) {
            low += 1;
        }
        high -= 1;
        while before(pivot, items[high]) {
            high -= 1;
        }
        if low >= high {
            return low;
        }
        items.swap(low, high);
        low += 1;
    }
}

fn median_of_three(items: &[Item], a: usize, b: usize, c: usize) -> usize {
    let before = |x: usize, y: usize| before(items[x], items[y]);
    match (before(a, b), before(b, c), before(a, c)) {
        (true, true, _) => b,
        (true, false, true) => c,
        (true, false, false) => a,
        (false, _, true) => a,
        (false, true, false) => c,
        (false, false, false) => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(mut places: Vec<usize>) -> Vec<usize> {
        places.sort_unstable();
        places
    }

    #[test]
    fn takes_the_largest() {
        let values: Vec<f32> = (0..300).map(|i| ((i * 7919) % 300) as f32).collect();
        for count in [0, 1, 2, 50, 299, 300, 400] {
            let mut order: Vec<usize> = (0..300).collect();
            order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
            order.truncate(count);
            assert_eq!(sorted(top_k(&values, count)), sorted(order), "{count}");
        }
    }

    #[test]
    fn infinities_are_values() {
        let values = [f32::NEG_INFINITY, 1.0, f32::INFINITY, f32::NEG_INFINITY, 2.0];
        assert_eq!(sorted(top_k(&values, 2)), [2, 4]);
        assert_eq!(sorted(top_k(&[f32::NEG_INFINITY; 9], 9)).len(), 9);
    }

    /// The expected indices are those of `torch.topk(torch.tensor(values), count, sorted=False)` in
    /// PyTorch 2.15.
    #[test]
    fn equal_values_fall_as_in_pytorch() {
        let take = |length: usize, modulus: usize, count: usize| {
            let values: Vec<f32> = (0..length).map(|i| ((i * 37) % modulus) as f32).collect();
            sorted(top_k(&values, count))
        };
        assert_eq!(take(12, 3, 5), [1, 2, 5, 8, 11]);
        assert_eq!(take(40, 5, 13), [2, 7, 9, 12, 14, 17, 22, 24, 27, 32, 34, 37, 39]);
        let of_100 = [
            2, 3, 6, 9, 10, 13, 17, 20, 24, 27, 31, 34, 38, 41, 44, 45, 48, 51, 52, 55, 58, 59, 62,
            65, 66, 69, 72, 73, 76, 80, 83, 86, 87, 90, 93, 94, 97,
        ];
        assert_eq!(take(100, 7, 37), of_100);
    }
}
