//! Distinct people for every group that is required: a bipartite matching by augmenting paths (Kuhn, 1955). At most 15 of either side.

use crate::v1alpha1::RequiredApprovals;

/// Whom these people, each with the groups that count, leave missing: a line a group, and one where all groups are met by fewer people than
/// `minimum`. Empty: nobody. One person counts once, whatever groups they are in.
pub fn missing(required: &[RequiredApprovals], minimum: i32, people: &[(&str, &[String])]) -> Vec<String> {
    let seats: Vec<&str> =
        required.iter().flat_map(|r| std::iter::repeat_n(r.group.as_str(), r.count.try_into().unwrap_or(0))).collect();
    let fits = |seat: usize, person: usize| people[person].1.iter().any(|g| g == seats[seat]);
    let mut seated: Vec<Option<usize>> = vec![None; people.len()];
    let mut empty: Vec<&str> = Vec::new();
    for (seat, group) in seats.iter().enumerate() {
        if !take(seat, &fits, &mut seated, &mut vec![false; people.len()]) {
            empty.push(group);
        }
    }
    let mut lines: Vec<String> = required
        .iter()
        .filter_map(|r| {
            let open = empty.iter().filter(|e| **e == r.group).count();
            (open > 0).then(|| format!("{open} of {}", r.group))
        })
        .collect();
    let mut names: Vec<&str> = people
        .iter()
        .filter(|(_, groups)| groups.iter().any(|g| seats.contains(&g.as_str())))
        .map(|(n, _)| *n)
        .collect();
    names.sort_unstable();
    names.dedup();
    let more = usize::try_from(minimum).unwrap_or(0).saturating_sub(names.len()).saturating_sub(empty.len());
    if more > 0 {
        lines.push(format!("{more} more of any of these groups"));
    }
    lines
}

/// Seats somebody, moving others along where that frees a place.
fn take(seat: usize, fits: &dyn Fn(usize, usize) -> bool, seated: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for person in 0..seated.len() {
        if !fits(seat, person) || std::mem::replace(&mut seen[person], true) {
            continue;
        }
        let free = match seated[person] {
            None => true,
            Some(other) => take(other, fits, seated, seen),
        };
        if free {
            seated[person] = Some(seat);
            return true;
        }
    }
    false
}
