//! The most accelerators that are kept at work: doubling, then bisecting, over anything that answers "does N hold".

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The most that held; 0 where one did not.
    pub holds: u32,
    /// The least that did not hold; absent where the limit was reached.
    pub fails: Option<u32>,
}

/// Searches 1 to `limit`. `holds` is asked once a number.
///
/// # Errors
/// What `holds` says.
pub fn most<E>(limit: u32, mut holds: impl FnMut(u32) -> Result<bool, E>) -> Result<Found, E> {
    let (mut good, mut next) = (0, 1);
    let mut bad = loop {
        if !holds(next)? {
            break next;
        }
        good = next;
        if good == limit {
            return Ok(Found { holds: good, fails: None });
        }
        next = (2 * good).min(limit);
    };
    while bad - good > 1 {
        let middle = u32::midpoint(good, bad);
        if holds(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(Found { holds: good, fails: Some(bad) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(limit: u32, truth: u32) -> (Found, Vec<u32>) {
        let mut asked = Vec::new();
        let found = most(limit, |number| {
            asked.push(number);
            Ok::<_, ()>(number <= truth)
        });
        (found.expect("never fails"), asked)
    }

    #[test]
    fn every_answer_is_found_and_asked_for_once() {
        for limit in 1..40 {
            for truth in 0..50 {
                let (found, mut asked) = search(limit, truth);
                assert_eq!(found.holds, truth.min(limit), "limit {limit}, truth {truth}");
                assert_eq!(found.fails, (truth < limit).then_some(truth + 1));
                assert!(asked.iter().all(|number| (1..=limit).contains(number)));
                let count = asked.len();
                asked.sort_unstable();
                asked.dedup();
                assert_eq!(asked.len(), count, "nothing twice");
            }
        }
    }

    #[test]
    fn it_doubles_and_then_bisects() {
        assert_eq!(search(100, 11).1, [1, 2, 4, 8, 16, 12, 10, 11]);
    }

    #[test]
    fn an_error_ends_the_search() {
        assert_eq!(most(8, |number| if number < 4 { Ok(true) } else { Err(number) }), Err(4));
    }
}
