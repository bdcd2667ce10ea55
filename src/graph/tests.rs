//! Order, cycles and drawings against naive models.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::JobStatus;

fn edges(pairs: &[(u64, u64)]) -> Vec<Edge> {
    pairs.iter().map(|&(chunk, depends_on)| Edge { chunk, depends_on }).collect()
}

fn order(nodes: impl IntoIterator<Item = u64>, pairs: &[(u64, u64)]) -> Result<Vec<u64>, Cycle> {
    Graph::from_edges(nodes, edges(pairs)).expect("every chunk exists").topo_order()
}

/// A generator for tests: xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}

/// The same, the slow and obvious way.
fn naive_order(nodes: &BTreeSet<u64>, edges: &[Edge]) -> Option<Vec<u64>> {
    let mut waits: BTreeMap<u64, BTreeSet<u64>> = nodes.iter().map(|id| (*id, BTreeSet::new())).collect();
    for edge in edges {
        waits.get_mut(&edge.chunk).expect("exists").insert(edge.depends_on);
    }
    let mut order = Vec::new();
    while !waits.is_empty() {
        let next = *waits.iter().find(|(_, on)| on.is_empty())?.0;
        waits.remove(&next);
        for on in waits.values_mut() {
            on.remove(&next);
        }
        order.push(next);
    }
    Some(order)
}

#[test]
fn the_lowest_ready_chunk_comes_first() {
    assert_eq!(order([1, 2, 3, 4], &[(1, 4), (2, 4)]).unwrap(), [3, 4, 1, 2]);
    assert_eq!(order([5, 1, 3], &[]).unwrap(), [1, 3, 5]);
    assert_eq!(order([], &[]).unwrap(), [0; 0]);
}

#[test]
fn what_stands_twice_counts_once() {
    assert_eq!(order([2, 1, 2, 1], &[(1, 2), (1, 2)]).unwrap(), [2, 1]);
}

#[test]
fn an_edge_to_an_unknown_chunk_is_an_error_that_names_it() {
    for pair in [(1, 9), (9, 1), (1, 0), (1, u64::MAX)] {
        let error = Graph::from_edges([1, 2], edges(&[pair])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownDependency);
        assert!(error.to_string().contains(&format!("{} -> {}", pair.0, pair.1)), "{error}");
    }
    assert!(Graph::from_edges([], edges(&[(1, 2)])).is_err());
    assert_eq!(Graph::from_edges_within([1, 2], edges(&[(1, 9), (1, 2)])).unwrap().edge_count(), 1);
}

#[test]
fn a_cycle_is_named_from_its_lowest_id_in_the_order_of_depends_on() {
    let cycle = order([1, 3, 7, 9], &[(7, 9), (3, 7), (9, 3), (1, 3)]).unwrap_err();
    assert_eq!(cycle.chunks(), [3, 7, 9]);
    assert_eq!(cycle.to_string(), "3 -> 7 -> 9 -> 3");
    assert_eq!(order([4, 5], &[(5, 5)]).unwrap_err().to_string(), "5 -> 5");
    let error = Error::from(cycle);
    assert_eq!(error.kind(), ErrorKind::DependencyCycle);
    assert!(error.to_string().contains("3 -> 7 -> 9 -> 3"), "{error}");
}

#[test]
fn a_short_cycle_is_named_rather_than_a_long_way_round() {
    // 0 -> 1 -> ... -> 99 -> 0, and 50 -> 49.
    let mut pairs: Vec<(u64, u64)> = (0..100).map(|i| (i, (i + 1) % 100)).collect();
    pairs.push((50, 0));
    let cycle = order(0..100, &pairs).unwrap_err();
    assert_eq!(cycle.chunks().len(), 51);
}

#[test]
fn a_long_cycle_is_shortened_in_the_middle_past_twenty_chunks() {
    let ring = |n: u64| order(0..n, &(0..n).map(|i| (i, (i + 1) % n)).collect::<Vec<_>>()).unwrap_err();
    assert_eq!(ring(20).to_string().matches("->").count(), 20);
    let text = ring(21).to_string();
    assert_eq!(
        text,
        "0 -> 1 -> 2 -> 3 -> 4 -> 5 -> 6 -> 7 -> 8 -> 9 -> (1 more) -> 11 -> 12 -> 13 -> 14 -> 15 -> 16 -> 17 -> 18 -> 19 -> 20 -> 0"
    );
}

#[test]
fn a_chain_of_a_hundred_thousand_chunks_needs_no_deep_stack() {
    let n = 100_000;
    let mut pairs: Vec<(u64, u64)> = (1..n).map(|i| (i - 1, i)).collect();
    assert_eq!(order(0..n, &pairs).unwrap(), (0..n).rev().collect::<Vec<_>>());
    pairs.push((n - 1, 0));
    assert_eq!(order(0..n, &pairs).unwrap_err().chunks().len(), 100_000);
}

#[test]
fn random_graphs_agree_with_the_naive_model() {
    let seed = 0x5EED_0001;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let (mut acyclic, mut cyclic) = (0, 0);
    for round in 0..3_000 {
        let spread = [1, 7, 1 << 40][round % 3];
        let count = 1 + random.below(12);
        let nodes: Vec<u64> = (0..count).map(|_| random.below(count * 2) * spread).collect();
        let set: BTreeSet<u64> = nodes.iter().copied().collect();
        let pick = |random: &mut Random| nodes[usize::try_from(random.below(count)).expect("small")];
        let edges: Vec<Edge> = (0..random.below(count + 4))
            .map(|_| Edge { chunk: pick(&mut random), depends_on: pick(&mut random) })
            .collect();
        let graph = Graph::from_edges(nodes.iter().copied(), edges.iter().copied()).unwrap();
        match (graph.topo_order(), naive_order(&set, &edges)) {
            (Ok(order), Some(expected)) => {
                acyclic += 1;
                assert_eq!(order, expected, "round {round}");
                assert!(graph.check_acyclic().is_ok());
            }
            (Err(cycle), None) => {
                cyclic += 1;
                assert_eq!(graph.check_acyclic().unwrap_err(), cycle);
                let chunks = cycle.chunks();
                assert_eq!(chunks.iter().min(), chunks.first());
                for (i, &chunk) in chunks.iter().enumerate() {
                    let depends_on = chunks[(i + 1) % chunks.len()];
                    assert!(edges.contains(&Edge { chunk, depends_on }), "round {round}: {cycle}");
                }
            }
            (found, expected) => panic!("round {round}: {found:?} where {expected:?} was expected"),
        }
    }
    assert!(acyclic > 500 && cyclic > 500, "{acyclic} acyclic, {cyclic} cyclic");
}

#[test]
fn ids_are_found_whether_they_lie_dense_sparse_or_lopsided() {
    let lopsided = (0..1_000).chain([crate::limits::ID_MAX, u64::MAX]).collect::<Vec<_>>();
    for ids in [(0..1_000).collect(), (0..1_000).map(|i| 5 + i * i * i).collect(), lopsided, vec![7]] {
        let index = Ids::new(ids.clone()).unwrap();
        for (at, id) in (0u32..).zip(&ids) {
            assert_eq!(index.index(*id), Some(at));
        }
        assert_eq!(
            index.index(ids[ids.len() - 1].wrapping_add(1)),
            (ids[ids.len() - 1] == u64::MAX).then_some(0)
        );
        assert!(index.buckets.len() <= 2 * ids.len() + 1, "{} buckets", index.buckets.len());
    }
}

#[test]
fn descending_edges_prove_that_there_is_no_cycle() {
    assert!(Edge { chunk: 2, depends_on: 1 }.descends());
    assert!(!Edge { chunk: 1, depends_on: 1 }.descends());
    let graph = Graph::from_edges(0..4, edges(&[(3, 1), (2, 0)])).unwrap();
    assert!(graph.is_descending);
    assert_eq!(graph.topo_order().unwrap(), [0, 1, 2, 3]);
}

fn sample() -> Vec<Node<'static>> {
    let node = |chunk, status, label: Option<&'static str>| Node {
        chunk,
        status,
        is_blocked: chunk == 4,
        label: label.map(Into::into),
    };
    vec![
        node(1, JobStatus::Done, Some("a \"quoted\" \\ back\nline & <b> \u{0}")),
        node(2, JobStatus::Processing, None),
        node(3, JobStatus::Failed, Some("`x` #1; [y] end")),
        node(4, JobStatus::Pending, None),
        node(5, JobStatus::Cancelled, Some("Grüße \u{1F680}")),
    ]
}

#[test]
fn a_dot_drawing_escapes_labels_and_colours_statuses() {
    let mut text = String::new();
    write_dot(&mut text, sample(), edges(&[(2, 1), (4, 3)])).unwrap();
    assert!(text.starts_with("digraph job {\n") && text.ends_with("}\n"));
    assert!(
        text.contains(r##"1 [label="1\na \"quoted\" \\ back\nline &amp; <b>  \ndone", fillcolor="#bbf7d0""##),
        "{text}"
    );
    assert!(text.contains("4 [label=\"4\\nblocked\"") && text.contains("dashed"), "{text}");
    assert!(text.contains("  1 -> 2;\n  3 -> 4;\n"), "{text}");
}

#[test]
fn a_mermaid_drawing_escapes_labels_and_colours_statuses() {
    let mut text = String::new();
    write_mermaid(&mut text, sample(), edges(&[(2, 1), (4, 3)])).unwrap();
    assert!(text.starts_with("flowchart LR\n"));
    assert!(
        text.contains(r#"c1["1<br/>a #34;quoted#34; #92; back<br/>line #38; #60;b#62;  <br/>done"]:::done"#),
        "{text}"
    );
    assert!(text.contains(r#"c3["3<br/>#96;x#96; #35;1#59; #91;y#93; end<br/>failed"]:::failed"#), "{text}");
    assert!(text.contains(r#"c4["4<br/>blocked"]:::blocked"#), "{text}");
    assert!(text.contains("  c1 --> c2\n  c3 --> c4\n"), "{text}");
    for status in JobStatus::ALL {
        assert!(text.contains(&format!("classDef {status} ")), "{text}");
    }
}
