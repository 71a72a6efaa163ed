//! Makes splits: checked against the samples that there are, and committed in the data set.

use std::collections::HashSet;

use super::draw::WHOLE;
use super::groups::{Groups, no_column};
use super::held::holds;
use super::report::{self, SplitReport, UNMATCHED_SHOWN};
use super::sides::{SIDE, Sides};
use super::{ALL, Grouping, REST, Rule, Share, Split, Ungrouped, keyed};
use crate::catalog::dataset::{Change, Dataset, Manifest};
use crate::catalog::table::Table;
use crate::error::Fault;
use crate::records::nonce;

/// Sides of a split by a column or by folders: more are a mistake.
const SIDES_MAX: usize = 1000;

/// Characters of a name.
const NAME_CHARS_MAX: usize = 64;

/// What a split is to be.
#[derive(Clone, Debug)]
pub struct SplitOptions {
    /// Its name.
    pub name: String,
    /// What tells its sides apart.
    pub rule: SplitRule,
    /// The columns by which samples go together; none where empty.
    pub group_by: Vec<String>,
    /// Where samples without a group belong; must be said where there are some.
    pub ungrouped: Option<Ungrouped>,
    /// What draws are keyed by, in hexadecimal digits; drawn where absent.
    pub salt: Option<String>,
    /// Whether a split of that name may become another.
    pub replace: bool,
    /// Whether to count only, and commit nothing.
    pub dry_run: bool,
}

/// [`Rule`], before it is stored.
#[derive(Clone, Debug)]
pub enum SplitRule {
    /// [`Rule::Folders`].
    Folders,
    /// [`Rule::Column`].
    Column(String),
    /// [`Rule::List`].
    List(Vec<ListedSide>),
    /// [`Rule::Holdout`].
    Holdout(Vec<Share>),
    /// [`Rule::Folds`].
    Folds(u32),
}

/// A line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSide {
    /// The sample's key, or the group's name.
    pub key: Vec<u8>,
    /// Its side.
    pub side: String,
}

impl SplitOptions {
    /// Commits the split, unless it is there as it is asked for.
    ///
    /// # Errors
    /// Invalid: a name that is taken or makes no sense, shares over 1, a column that is not there, a side without a
    /// sample. What the storage says.
    pub fn commit(&self, dataset: &Dataset) -> Result<(Manifest, SplitReport), Fault> {
        self.check()?;
        let fresh = nonce();
        let mut made = SplitReport::default();
        let manifest = dataset.commit(|head| {
            let table = dataset.table(head)?;
            let (split, report) = self.made(dataset, head, &table, &fresh)?;
            made = report;
            if self.dry_run || head.splits.get(&self.name) == Some(&split) {
                return Ok(None);
            }
            made.committed = true;
            let mut next = head.clone();
            next.change = self.change(&split, &made);
            next.splits.insert(self.name.clone(), split);
            Ok(Some(next))
        })?;
        Ok((manifest, made))
    }

    fn check(&self) -> Result<(), Fault> {
        check_name("split", &self.name)?;
        if let Some(salt) = &self.salt
            && !(matches!(salt.len(), 1..=64) && salt.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(Fault::invalid(format!("the salt {salt:?} is not 1 to 64 hexadecimal digits"))
                .hint("leave it out: one is drawn and committed"));
        }
        let is_drawn = matches!(self.rule, SplitRule::Holdout(_) | SplitRule::Folds(_));
        if self.salt.is_some() && !is_drawn {
            return Err(Fault::invalid("a salt for a split that draws nothing").hint("leave it out"));
        }
        match &self.rule {
            SplitRule::Holdout(shares) => check_shares(shares),
            SplitRule::Folds(folds @ (0 | 1 | 1001..)) => {
                Err(Fault::invalid(format!("{folds} folds")).hint("there are 2 to 1000"))
            }
            SplitRule::Folders | SplitRule::Column(_) if !self.group_by.is_empty() => {
                let message = "a split by folders or by a column has the sides that stand there, so it cannot keep \
                               groups together";
                Err(Fault::invalid(message).hint(
                    "use --holdout, --folds or a --list of groups; or freeze the held-out side --group-by",
                ))
            }
            SplitRule::List(lines) => lines.iter().try_for_each(|line| check_name("side", &line.side)),
            SplitRule::Folders | SplitRule::Column(_) | SplitRule::Folds(_) => Ok(()),
        }
    }

    fn made(
        &self,
        dataset: &Dataset,
        head: &Manifest,
        table: &Table,
        fresh: &str,
    ) -> Result<(Split, SplitReport), Fault> {
        if table.is_empty() {
            return Err(Fault::invalid(format!("{} has no samples yet", dataset.place()))
                .hint("add some: forebay index FOLDER"));
        }
        if head.frozen.contains_key(&self.name) {
            return Err(Fault::invalid(format!("there is a frozen set {}", self.name))
                .hint("give the split another name"));
        }
        let before = head.splits.get(&self.name);
        let group_by = self.grouping(dataset, head, table, before)?;
        let rule = self.stored_rule(dataset, before, fresh)?;
        let split = Split { rule, group_by };
        if let Some(before) = before.filter(|before| **before != split && !self.replace) {
            let message = format!("there is a split {}: {before}", self.name);
            return Err(Fault::invalid(message).hint(
                "give the new one another name; --replace changes it, and samples that were held out may be trained on",
            ));
        }
        let groups = Groups::open(dataset, head, table, split.group_by.as_ref())?;
        let sides = Sides::open(dataset, head, table, &split)?;
        let holds = holds(dataset, head, table)?;
        let mut made = report::of_sides(table, &head.classes, &groups, &sides, &holds);
        self.note_unmatched(table, &groups, &mut made)?;
        self.check_sides(head, &sides, table)?;
        if let Some(before) = before {
            let before = Sides::open(dataset, head, table, before)?;
            made.moved = report::moved(table.len(), &before, &sides);
        }
        Ok((split, made))
    }

    fn grouping(
        &self,
        dataset: &Dataset,
        head: &Manifest,
        table: &Table,
        before: Option<&Split>,
    ) -> Result<Option<Grouping>, Fault> {
        let known = before.and_then(|before| before.group_by.as_ref());
        let known = known.filter(|known| known.columns == self.group_by).map(|known| known.ungrouped);
        grouping(dataset, head, table, &self.group_by, self.ungrouped.or(known))
    }

    /// The rule to commit. A split that is replaced keeps its salt: where its last side grows, only samples
    /// of `train` move.
    fn stored_rule(&self, dataset: &Dataset, before: Option<&Split>, fresh: &str) -> Result<Rule, Fault> {
        let known = before.and_then(|before| match &before.rule {
            Rule::Holdout { salt, .. } | Rule::Folds { salt, .. } => Some(salt.clone()),
            _ => None,
        });
        let given = self.salt.as_ref().map(|salt| salt.to_ascii_lowercase());
        let salt = given.or(known).unwrap_or_else(|| fresh.to_owned());
        Ok(match &self.rule {
            SplitRule::Folders => Rule::Folders,
            SplitRule::Column(column) => Rule::Column { column: column.clone() },
            SplitRule::Holdout(shares) => Rule::Holdout { salt, shares: shares.clone() },
            SplitRule::Folds(folds) => Rule::Folds { salt, folds: *folds },
            SplitRule::List(lines) => {
                if lines.is_empty() {
                    return Err(Fault::invalid("the list is empty").hint("give it a line a sample"));
                }
                let has_rest = lines.iter().any(|line| line.side == REST);
                let lines = lines.iter().map(|line| (line.key.clone(), line.side.clone())).collect();
                let file = dataset.put(&keyed::snapshot(lines, Some(SIDE))?)?;
                Rule::List { file, rest: (!has_rest).then(|| REST.to_owned()) }
            }
        })
    }

    fn note_unmatched(
        &self,
        table: &Table,
        groups: &Groups<'_>,
        made: &mut SplitReport,
    ) -> Result<(), Fault> {
        let SplitRule::List(lines) = &self.rule else { return Ok(()) };
        let names: HashSet<_> = (0..table.len()).filter_map(|row| groups.of(row)).collect();
        let unmatched: Vec<_> = lines.iter().filter(|line| !names.contains(line.key.as_slice())).collect();
        made.unmatched_count = unmatched.len() as u64;
        let shown = unmatched.iter().take(UNMATCHED_SHOWN);
        made.unmatched = shown.map(|line| String::from_utf8_lossy(&line.key).into_owned()).collect();
        if unmatched.len() == lines.len() {
            return Err(none_matches(lines.len(), &made.unmatched[0], table, &self.group_by));
        }
        Ok(())
    }

    fn check_sides(&self, head: &Manifest, sides: &Sides, table: &Table) -> Result<(), Fault> {
        let mut counts = vec![0_u64; sides.names().len()];
        (0..table.len()).filter_map(|row| sides.of(row)).for_each(|side| counts[side] += 1);
        let found = counts.len();
        match (&self.rule, found) {
            (SplitRule::Folders, 0) => {
                return Err(
                    Fault::invalid("no sample lies in a folder").hint("use --holdout, --column or --list")
                );
            }
            (SplitRule::Column(column), 0) => {
                return Err(Fault::invalid(format!("no sample has a value in column {column}"))
                    .hint("join the values: forebay dataset join"));
            }
            (_, SIDES_MAX..) if found > SIDES_MAX => {
                return Err(Fault::invalid(format!("{found} sides, at most {SIDES_MAX}"))
                    .hint("to keep the samples of each value together, use --holdout ... --group-by"));
            }
            _ => {}
        }
        if let Some(taken) = sides.names().iter().find(|side| head.frozen.contains_key(*side)) {
            let message = format!("a side {taken}: a frozen set is called so");
            return Err(Fault::invalid(message).hint("a job could not tell them apart: rename the side"));
        }
        match counts.iter().position(|&count| count == 0) {
            None => Ok(()),
            Some(side) => Err(Fault::invalid(format!(
                "no sample would be on side {} of {}",
                sides.names()[side],
                table.len()
            ))
            .hint("give the side a larger share, use fewer folds, or leave it out")),
        }
    }

    fn change(&self, split: &Split, made: &SplitReport) -> Change {
        let mut counts: std::collections::BTreeMap<_, _> = if made.sides.len() <= 12 {
            made.sides.iter().map(|side| (side.side.clone(), side.samples)).collect()
        } else {
            [("sides".to_owned(), made.sides.len() as u64)].into()
        };
        let moved = made.moved.iter().map(|moved| moved.samples).sum::<u64>();
        for (name, count) in [
            ("moved", moved),
            ("on_no_side", made.on_no_side),
            ("waiting_for_group", made.waiting),
            ("held_back", made.held_back),
        ] {
            counts.extend((count > 0).then(|| (name.to_owned(), count)));
        }
        Change { verb: "split".to_owned(), message: format!("{} {split}", self.name), counts }
    }
}

/// A grouping that says where samples without a group belong.
///
/// # Errors
/// Invalid: a column that is not there or names nothing; samples without a group, and nothing is said of them.
pub(super) fn grouping(
    dataset: &Dataset,
    head: &Manifest,
    table: &Table,
    columns: &[String],
    ungrouped: Option<Ungrouped>,
) -> Result<Option<Grouping>, Fault> {
    if columns.is_empty() {
        return match ungrouped {
            Some(_) => Err(Fault::invalid("--ungrouped without --group-by").hint("name the groups' column")),
            None => Ok(None),
        };
    }
    if let Some(missing) = columns.iter().find(|name| table.column(name).is_none()) {
        return Err(no_column(table, missing));
    }
    let grouping = Grouping { columns: columns.to_vec(), ungrouped: ungrouped.unwrap_or(Ungrouped::Wait) };
    let gaps = Groups::open(dataset, head, table, Some(&grouping))?.ungrouped();
    if gaps > 0 && ungrouped.is_none() {
        let message = format!("{gaps} of {} samples have no {}", table.len(), columns.join(", "));
        return Err(Fault::invalid(message).hint(
            "say where they belong: --ungrouped wait (on no side until a value is joined) or --ungrouped alone (each by \
             its own key)",
        ));
    }
    Ok(Some(grouping))
}

/// The error for a list that has nothing to do with the data set.
pub(super) fn none_matches(listed: usize, first: &str, table: &Table, group_by: &[String]) -> Fault {
    let (what, example) = match group_by {
        [] => ("key", String::from_utf8_lossy(&table.key(0)).into_owned()),
        columns => ("group", columns.join(", ")),
    };
    let message = format!("none of the {listed} names in the list is a sample's {what}");
    let fault = Fault::invalid(message).object(first);
    if what == "key" {
        fault.hint(format!("keys look like {example}"))
    } else {
        fault.hint(format!("groups are told by {example}"))
    }
}

/// # Errors
/// Invalid: a name that could not be told from other things in `split="..."`.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), Fault> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name == ALL || name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_plain) {
        let hint = "use 1 to 64 letters, digits, dots, dashes and underscores; \"all\" is everything";
        return Err(Fault::invalid(format!("a {what} cannot be called {name:?}")).hint(hint));
    }
    Ok(())
}

fn check_shares(shares: &[Share]) -> Result<(), Fault> {
    let mut met = HashSet::new();
    for share in shares {
        check_name("side", &share.side)?;
        if !met.insert(&share.side) {
            return Err(Fault::invalid(format!("side {} twice", share.side)).hint("name each side once"));
        }
        if share.parts_per_billion == 0 {
            return Err(Fault::invalid(format!("side {} with nothing", share.side)).hint("leave it out"));
        }
    }
    let whole: u64 = shares.iter().map(|share| share.parts_per_billion).sum();
    let decimal = whole as f64 / WHOLE as f64;
    if whole > WHOLE {
        return Err(Fault::invalid(format!("the sides make {decimal} of the samples"))
            .hint("shares are of all samples and make at most 1; train gets what they leave"));
    }
    if whole < WHOLE && met.contains(&REST.to_owned()) {
        return Err(Fault::invalid(format!(
            "the sides make {decimal} of the samples, and train is one of them"
        ))
        .hint("leave train out: it gets what the others leave"));
    }
    Ok(())
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.rule {
            Rule::Folders => f.write_str("by folders")?,
            Rule::Column { column } => write!(f, "by column {column}")?,
            Rule::List { file, .. } => write!(f, "by a list of {}", file.rows)?,
            Rule::Holdout { shares, .. } => {
                let share = |share: &Share| {
                    format!("{}={}", share.side, share.parts_per_billion as f64 / WHOLE as f64)
                };
                write!(f, "holding out {}", shares.iter().map(share).collect::<Vec<_>>().join(","))?;
            }
            Rule::Folds { folds, .. } => write!(f, "in {folds} folds")?,
        }
        match &self.group_by {
            Some(grouping) => write!(f, " of groups by {grouping}"),
            None => Ok(()),
        }
    }
}
