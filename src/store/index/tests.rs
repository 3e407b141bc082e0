use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn hash(number: u64) -> u64 {
    // Any mixture will do (splitmix64).
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn everything(index: &Index) -> Vec<Position> {
    let (mut seen, mut reached) = (Vec::new(), 0);
    while index.visit(&mut reached, |position| seen.push(position)) {}
    seen.sort_unstable();
    seen
}

proptest! {
    #[test]
    fn an_index_is_a_map_from_hashes_to_positions(
        steps in proptest::collection::vec((0u64..300, 0u8..4), 1..1500)
    ) {
        let mut index = Index::new(1, false);
        let mut model = BTreeMap::new();
        let mut next = 0;
        for (key, step) in steps {
            let known = model.get(&key).copied();
            match (known, step) {
                (Some(position), 0) => {
                    index.remove(hash(key), position);
                    model.remove(&key);
                }
                (Some(position), 1) => {
                    next += 1;
                    index.replace(hash(key), position, next);
                    model.insert(key, next);
                }
                (None, _) => {
                    next += 1;
                    index.insert(hash(key), next);
                    model.insert(key, next);
                }
                _ => {}
            }
            prop_assert_eq!(index.len(), model.len());
        }
        for (&key, &position) in &model {
            prop_assert!(index.holds(hash(key), position), "key {}", key);
        }
        let mut positions: Vec<Position> = model.values().copied().collect();
        positions.sort_unstable();
        prop_assert_eq!(everything(&index), positions);
    }

    #[test]
    fn a_walk_sees_what_stays_however_the_table_grows_and_shrinks(
        stays in 1u64..400, others in 0u64..3000, every in 1usize..40,
    ) {
        let mut index = Index::new(1, false);
        (1..=stays).for_each(|number| index.insert(hash(number), number));
        let mut seen = Vec::new();
        let (mut reached, mut number, mut growing) = (0, stays, true);
        loop {
            if !index.visit(&mut reached, |position| seen.push(position)) { break }
            for _ in 0..every {
                if growing && number < stays + others {
                    number += 1;
                    index.insert(hash(number), number);
                } else if number > stays {
                    growing = false;
                    index.remove(hash(number), number);
                    number -= 1;
                }
            }
        }
        for number in 1..=stays {
            prop_assert!(seen.contains(&number), "{} of {}", number, stays);
        }
    }
}

#[test]
fn a_walk_through_a_growing_table_sees_each_item_once() {
    let mut index = Index::new(1, false);
    (1..=500).for_each(|number| index.insert(hash(number), number));
    let (mut seen, mut reached, mut number) = (Vec::new(), 0, 500);
    while index.visit(&mut reached, |position| seen.push(position)) {
        for _ in 0..50 {
            number += 1;
            index.insert(hash(number), number);
        }
    }
    let mut stayed: Vec<Position> = seen.into_iter().filter(|&seen| seen <= 500).collect();
    stayed.sort_unstable();
    assert_eq!(stayed, (1..=500).collect::<Vec<_>>());
}

#[test]
fn an_item_costs_less_than_twelve_bytes_of_index_and_an_empty_table_is_small_again() {
    let mut index = Index::new(4, false);
    let (empty, mut worst) = (index.cost(), 0.0f64);
    for number in 1..200_000u64 {
        index.insert(hash(number), number);
        if number > 20_000 && number % 1000 == 0 {
            let cost = index.cost() as f64 / number as f64;
            worst = worst.max(cost);
        }
    }
    assert!(worst < 12.0, "{worst}");
    (1..200_000).for_each(|number| index.remove(hash(number), number));
    assert_eq!((index.buckets() as u64 * BUCKET as u64, index.len()), (empty, 0));
}
