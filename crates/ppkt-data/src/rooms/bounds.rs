//! A bounding hierarchy over the solids of a room: nearest hit and any hit.

use super::solid::{Ray, Solid};
use super::vec3::{V3, v3};

/// Solids in a leaf. Small, since a hit test costs about as much as two box tests.
const LEAF: usize = 2;

struct Node {
    low: V3,
    high: V3,
    /// First solid of a leaf, or the right child (the left one is the next node).
    first: u32,
    /// Solids in a leaf, 0 for an inner node.
    count: u32,
}

/// The solids, reordered, and the tree over them.
pub(crate) struct Hierarchy {
    nodes: Vec<Node>,
    solids: Vec<Solid>,
}

impl Hierarchy {
    pub(crate) fn new(mut solids: Vec<Solid>) -> Hierarchy {
        let mut nodes = Vec::with_capacity(solids.len() * 2);
        if !solids.is_empty() {
            let n = solids.len();
            split(&mut solids, 0, n, &mut nodes);
        }
        Hierarchy { nodes, solids }
    }

    pub(crate) fn solids(&self) -> &[Solid] {
        &self.solids
    }

    /// Nearest hit in (`t_min`, `t_max`) and the solid's number.
    pub(crate) fn nearest(&self, ray: &Ray, t_min: f32, t_max: f32) -> Option<(f32, u32)> {
        let mut best = (t_max, u32::MAX);
        self.walk(ray, t_min, t_max, |i, limit| {
            if let Some(t) = self.solids[i as usize].hit(ray, t_min, *limit) {
                *limit = t;
                best = (t, i);
            }
            false
        });
        (best.1 != u32::MAX).then_some(best)
    }

    /// Whether an opaque solid lies in (`t_min`, `t_max`).
    pub(crate) fn blocked(&self, ray: &Ray, t_min: f32, t_max: f32) -> bool {
        let mut found = false;
        self.walk(ray, t_min, t_max, |i, limit| {
            let solid = &self.solids[i as usize];
            found = solid.opaque && solid.hit(ray, t_min, *limit).is_some();
            found
        });
        found
    }

    /// Visits the leaves that the ray enters, near ones first, until `visit` returns true. `visit` may shorten the
    /// ray.
    fn walk(&self, ray: &Ray, t_min: f32, t_max: f32, mut visit: impl FnMut(u32, &mut f32) -> bool) {
        if self.nodes.is_empty() {
            return;
        }
        let inverse = v3(1.0 / ray.direction.x, 1.0 / ray.direction.y, 1.0 / ray.direction.z);
        let enter = |node: &Node, limit: f32| {
            let a = (node.low - ray.origin).times(inverse);
            let b = (node.high - ray.origin).times(inverse);
            let near = a.x.min(b.x).max(a.y.min(b.y)).max(a.z.min(b.z)).max(t_min);
            let far = a.x.max(b.x).min(a.y.max(b.y)).min(a.z.max(b.z)).min(limit);
            if near <= far { near } else { f32::INFINITY }
        };
        let mut limit = t_max;
        // The tree halves its lists, within one part in eight, so 64 levels hold 5,000 solids and more.
        let mut stack = [(0_u32, 0.0_f32); 64];
        let mut depth = 0;
        let mut current = 0_u32;
        if enter(&self.nodes[0], limit).is_infinite() {
            return;
        }
        loop {
            let node = &self.nodes[current as usize];
            if node.count > 0 {
                for i in node.first..node.first + node.count {
                    if visit(i, &mut limit) {
                        return;
                    }
                }
            } else {
                let (left, right) = (current + 1, node.first);
                let t_left = enter(&self.nodes[left as usize], limit);
                let t_right = enter(&self.nodes[right as usize], limit);
                let (near, far, t_near, t_far) = if t_left <= t_right {
                    (left, right, t_left, t_right)
                } else {
                    (right, left, t_right, t_left)
                };
                if t_near.is_finite() {
                    if t_far.is_finite() {
                        stack[depth] = (far, t_far);
                        depth += 1;
                    }
                    current = near;
                    continue;
                }
            }
            loop {
                if depth == 0 {
                    return;
                }
                depth -= 1;
                if stack[depth].1 <= limit {
                    current = stack[depth].0;
                    break;
                }
            }
        }
    }
}

/// Splits at the median of the centres along the longest side; the order within is by position, then by the
/// original order (the sort is stable), so the tree is a function of the list alone.
fn split(solids: &mut [Solid], first: usize, count: usize, nodes: &mut Vec<Node>) {
    let (low, high) = enclosing(solids);
    let at = nodes.len();
    nodes.push(Node { low, high, first: first as u32, count: count as u32 });
    if count <= LEAF {
        return;
    }
    let spread = |i: usize| {
        let centres = solids.iter().map(|s| s.centre.axis(i));
        let (a, b) = centres.fold((f32::MAX, f32::MIN), |(a, b), c| (a.min(c), b.max(c)));
        b - a
    };
    let spreads = [spread(0), spread(1), spread(2)];
    let axis = (0..3).max_by(|&i, &j| spreads[i].total_cmp(&spreads[j])).unwrap_or(0);
    solids.sort_by(|a, b| a.centre.axis(axis).total_cmp(&b.centre.axis(axis)));
    let half = best_cut(solids);
    let (left, right) = solids.split_at_mut(half);
    split(left, first, half, nodes);
    nodes[at].first = nodes.len() as u32;
    nodes[at].count = 0;
    split(right, first + half, count - half, nodes);
}

/// Where to cut a sorted list: least surface times number, the usual estimate of the cost of a ray.
fn best_cut(solids: &[Solid]) -> usize {
    let n = solids.len();
    let area = |low: V3, high: V3| {
        let s = high - low;
        s.x * s.y + s.y * s.z + s.z * s.x
    };
    let mut cost = vec![0.0_f32; n];
    let (mut low, mut high) = solids[0].bounds();
    for cut in 1..n {
        cost[cut] = area(low, high) * cut as f32;
        let (a, b) = solids[cut].bounds();
        (low, high) = (low.min(a), high.max(b));
    }
    (low, high) = solids[n - 1].bounds();
    for cut in (1..n).rev() {
        let (a, b) = solids[cut].bounds();
        (low, high) = (low.min(a), high.max(b));
        cost[cut] += area(low, high) * (n - cut) as f32;
    }
    // Very lopsided cuts would make the tree deep for nothing.
    let margin = n / 8;
    (1.max(margin)..n - margin.min(n - 2)).min_by(|&a, &b| cost[a].total_cmp(&cost[b])).unwrap_or(n / 2)
}

fn enclosing(solids: &[Solid]) -> (V3, V3) {
    let far = v3(f32::MAX, f32::MAX, f32::MAX);
    solids.iter().map(Solid::bounds).fold((far, -far), |(low, high), (a, b)| (low.min(a), high.max(b)))
}

#[cfg(test)]
mod tests {
    use super::super::class::Class;
    use super::super::dice::{hash, unit_of};
    use super::super::solid::Shape;
    use super::super::vec3::Axes;
    use super::*;

    #[test]
    fn the_tree_finds_what_a_plain_list_finds() {
        let r = |k: u32| unit_of(hash(k)) * 2.0 - 1.0;
        for n in [0_u32, 1, 2, 3, 7, 300] {
            let solids: Vec<Solid> = (0..n)
                .map(|i| Solid {
                    shape: [Shape::Block { soft: 0.0 }, Shape::Frustum, Shape::Ellipsoid][i as usize % 3],
                    centre: v3(r(i * 16), r(i * 16 + 1), r(i * 16 + 2)) * 2.0,
                    axes: Axes::turned(r(i * 16 + 3), r(i * 16 + 4), r(i * 16 + 5)),
                    half: v3(r(i * 16 + 6), r(i * 16 + 7), r(i * 16 + 8)).map(|v| v.abs() * 0.2 + 0.01),
                    material: i as u16,
                    class: Class::Box,
                    opaque: i % 5 != 0,
                })
                .collect();
            let tree = Hierarchy::new(solids.clone());
            assert_eq!(tree.solids().len(), n as usize);
            for k in 0..500_u32 {
                let at = 100_000 + k * 8;
                let origin = v3(r(at), r(at + 1), r(at + 2)) * 4.0;
                let direction = v3(r(at + 3), r(at + 4), r(at + 5));
                let ray = Ray { origin, direction };
                let plain = solids
                    .iter()
                    .filter_map(|s| s.hit(&ray, 1e-4, 1e9).map(|t| (t, s.material)))
                    .min_by(|a, b| a.0.total_cmp(&b.0));
                let found =
                    tree.nearest(&ray, 1e-4, 1e9).map(|(t, i)| (t, tree.solids()[i as usize].material));
                assert_eq!(plain, found, "{n} solids, ray {k}");
                let blocked = solids.iter().any(|s| s.opaque && s.hit(&ray, 1e-4, 3.0).is_some());
                assert_eq!(blocked, tree.blocked(&ray, 1e-4, 3.0));
            }
        }
    }
}
