//! Drawings of a dependency graph as text: Graphviz and Mermaid.

use std::borrow::Cow;
use std::fmt::{self, Write};

use super::Edge;
use crate::model::JobStatus;

/// One chunk of a drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node<'a> {
    /// The chunk's id.
    pub chunk: u64,
    /// Where it stands; gives the colour.
    pub status: JobStatus,
    /// Whether it is pending and a dependency is not met; drawn dashed.
    pub is_blocked: bool,
    /// What stands under its id; any text.
    pub label: Option<Cow<'a, str>>,
}

impl Node<'_> {
    fn status_text(&self) -> &'static str {
        if self.is_blocked && self.status == JobStatus::Pending { "blocked" } else { self.status.as_str() }
    }
}

/// The fill and line colours of a status; the text on it is black.
fn colours(status: JobStatus) -> (&'static str, &'static str) {
    match status {
        JobStatus::Pending => ("#e8e8e8", "#767676"),
        JobStatus::Processing => ("#bfdbfe", "#1d4ed8"),
        JobStatus::Done => ("#bbf7d0", "#15803d"),
        JobStatus::Failed => ("#fecaca", "#b91c1c"),
        JobStatus::Cancelled => ("#fde68a", "#a16207"),
    }
}

/// Writes the graph in Graphviz's DOT language: `dot -Tsvg` draws it. Arrows go from a chunk to those that wait
/// for it.
///
/// ```
/// use magnetar::JobStatus;
/// use magnetar::graph::{Edge, Node, write_dot};
///
/// let node = |chunk, status| Node { chunk, status, is_blocked: false, label: None };
/// let mut text = String::new();
/// write_dot(
///     &mut text,
///     [node(1, JobStatus::Done), node(2, JobStatus::Pending)],
///     [Edge { chunk: 2, depends_on: 1 }],
/// )?;
/// assert!(text.contains("1 -> 2;"));
/// # Ok::<(), std::fmt::Error>(())
/// ```
pub fn write_dot<'a>(
    out: &mut impl Write,
    nodes: impl IntoIterator<Item = Node<'a>>,
    edges: impl IntoIterator<Item = Edge>,
) -> fmt::Result {
    out.write_str("digraph job {\n  rankdir=LR;\n")?;
    out.write_str("  node [shape=box, style=\"filled,rounded\", fontname=\"Helvetica\"];\n")?;
    for node in nodes {
        let (fill, line) = colours(node.status);
        write!(out, "  {} [label=\"{}", node.chunk, node.chunk)?;
        if let Some(label) = &node.label {
            out.write_str("\\n")?;
            escape(out, label, |out, c| match c {
                '"' => out.write_str("\\\""),
                '\\' => out.write_str("\\\\"),
                // Graphviz reads HTML entities in any label.
                '&' => out.write_str("&amp;"),
                '\n' => out.write_str("\\n"),
                c => out.write_char(c),
            })?;
        }
        write!(out, "\\n{}\", fillcolor=\"{fill}\", color=\"{line}\"", node.status_text())?;
        if node.is_blocked {
            out.write_str(", style=\"filled,rounded,dashed\"")?;
        }
        out.write_str("];\n")?;
    }
    for Edge { chunk, depends_on } in edges {
        writeln!(out, "  {depends_on} -> {chunk};")?;
    }
    out.write_str("}\n")
}

/// Writes the graph as a Mermaid flowchart, which Markdown viewers draw. Arrows go from a chunk to those that wait
/// for it.
///
/// Mermaid itself draws at most 500 edges unless its `maxEdges` is raised.
///
/// ```
/// use magnetar::JobStatus;
/// use magnetar::graph::{Node, write_mermaid};
///
/// let mut text = String::new();
/// let node = Node { chunk: 1, status: JobStatus::Done, is_blocked: false, label: Some("a.bin".into()) };
/// write_mermaid(&mut text, [node], [])?;
/// assert!(text.starts_with("flowchart LR\n"));
/// # Ok::<(), std::fmt::Error>(())
/// ```
pub fn write_mermaid<'a>(
    out: &mut impl Write,
    nodes: impl IntoIterator<Item = Node<'a>>,
    edges: impl IntoIterator<Item = Edge>,
) -> fmt::Result {
    out.write_str("flowchart LR\n")?;
    for status in JobStatus::ALL {
        let (fill, line) = colours(status);
        writeln!(out, "  classDef {status} fill:{fill},stroke:{line},color:#000000")?;
    }
    let (fill, line) = colours(JobStatus::Pending);
    writeln!(out, "  classDef blocked fill:{fill},stroke:{line},color:#000000,stroke-dasharray:4 3")?;
    for node in nodes {
        write!(out, "  c{}[\"{}", node.chunk, node.chunk)?;
        if let Some(label) = &node.label {
            out.write_str("<br/>")?;
            escape(out, label, |out, c| match c {
                '\n' => out.write_str("<br/>"),
                // Whatever Mermaid, Markdown or HTML could take for its own.
                '"' | '#' | '&' | '<' | '>' | '\\' | '`' | '*' | '_' | '~' | ';' | '[' | ']' | '{' | '}'
                | '(' | ')' | '|' | '$' | '%' => write!(out, "#{};", u32::from(c)),
                c => out.write_char(c),
            })?;
        }
        let status = node.status_text();
        writeln!(out, "<br/>{status}\"]:::{status}")?;
    }
    for Edge { chunk, depends_on } in edges {
        writeln!(out, "  c{depends_on} --> c{chunk}")?;
    }
    Ok(())
}

/// Hands each character on, control characters (line ends excepted) replaced.
fn escape<W: Write>(
    out: &mut W,
    text: &str,
    mut write: impl FnMut(&mut W, char) -> fmt::Result,
) -> fmt::Result {
    text.chars().try_for_each(|c| match c {
        '\n' => write(out, c),
        '\r' => Ok(()),
        c if c.is_control() => write(out, ' '),
        c => write(out, c),
    })
}
