//! A golden list: public items in groups, each with the reason why its items are public.
//!
//! `//` comment; `# name: reason` begins a group; `@ path path` are the paths, below the crate, whose items are in it, with
//! all that is below them; other lines are items, and are written by `make public-api`.

use std::collections::BTreeSet;
use std::fmt;

use super::items::path;

/// Such a list.
#[derive(Default)]
pub struct List {
    comments: Vec<String>,
    groups: Vec<Group>,
}

#[derive(Default)]
struct Group {
    title: String,
    /// As they are written, in lines.
    paths: Vec<String>,
    items: Vec<String>,
}

impl List {
    pub fn parse(text: &str) -> Self {
        let mut list = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            match (line.split_at_checked(2), list.groups.last_mut()) {
                (Some(("# ", title)), _) => {
                    list.groups.push(Group { title: title.to_owned(), ..Group::default() });
                }
                (Some(("@ ", paths)), Some(group)) => group.paths.push(paths.to_owned()),
                (_, Some(group)) => group.items.push(line.to_owned()),
                (_, None) => list.comments.push(line.to_owned()),
            }
        }
        list
    }

    /// The same groups with these items, or what is wrong.
    pub fn with(mut self, package: &str, items: &[String]) -> Result<Self, Vec<String>> {
        let no_reason = |title: &str| title.split_once(": ").is_none_or(|(_, reason)| reason.is_empty());
        let titles = self.groups.iter().map(|group| &group.title).filter(|title| no_reason(title));
        let mut wrong: Vec<_> = titles.map(|title| format!("{package}: the group '{title}' gives no reason")).collect();
        let mut unused: BTreeSet<_> = self.groups.iter().flat_map(Group::paths).map(str::to_owned).collect();
        self.groups.iter_mut().for_each(|group| group.items.clear());
        // The crate itself is the first.
        for item in &items[1..] {
            let path = path(item, package);
            let reach = |group: &Group| group.reach(&path).map(str::len);
            match self.groups.iter_mut().max_by_key(|group| reach(group)).filter(|group| reach(group).is_some()) {
                Some(group) => {
                    unused.remove(group.reach(&path).unwrap());
                    group.items.push(item.clone());
                }
                None => wrong.push(format!(
                    "{package}: {path}: which group needs it? give the reason, or make it private\n    {item}"
                )),
            }
        }
        wrong
            .extend(unused.iter().map(|path| format!("{package}: take out the path '{path}': it is no public item's")));
        if wrong.is_empty() { Ok(self) } else { Err(wrong) }
    }

    fn items(&self) -> BTreeSet<&String> {
        self.groups.iter().flat_map(|group| &group.items).collect()
    }
}

impl Group {
    fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().flat_map(|line| line.split_whitespace())
    }

    /// The longest path of this group that an item's is, or is below.
    fn reach(&self, path: &str) -> Option<&str> {
        let above =
            |above: &&str| path.strip_prefix(*above).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        self.paths().filter(above).max_by_key(|path| path.len())
    }
}

impl fmt::Display for List {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.comments.iter().try_for_each(|comment| writeln!(formatter, "{comment}"))?;
        for group in &self.groups {
            writeln!(formatter, "\n# {}", group.title)?;
            group.paths.iter().try_for_each(|paths| writeln!(formatter, "@ {paths}"))?;
            group.items.iter().try_for_each(|item| writeln!(formatter, "{item}"))?;
        }
        Ok(())
    }
}

/// The items that went and came.
pub fn difference(old: &List, new: &List) -> String {
    let (old, new) = (old.items(), new.items());
    let went = old.difference(&new).map(|item| format!("- {item}\n"));
    let came = new.difference(&old).map(|item| format!("+ {item}\n"));
    let lines: String = went.chain(came).collect();
    if lines.is_empty() { "the items are the same, in another order\n".to_owned() } else { lines }
}

#[test]
fn an_item_is_in_the_group_of_the_longest_path() {
    let text = "// A list.\n\n# Opening: all begin here\n@ Client error\npub struct a::Client\n\n# Pins: backups\n@ Client::pin\n";
    let items = |lines: &[&str]| -> Vec<_> { lines.iter().map(|line| (*line).to_owned()).collect() };
    let all = items(&["pub mod a", "pub mod a::error", "pub struct a::Client", "pub fn a::Client::pin()"]);
    let list = List::parse(text).with("a", &all).ok().unwrap();
    assert_eq!(
        list.to_string(),
        "// A list.\n\n# Opening: all begin here\n@ Client error\npub mod a::error\npub struct a::Client\n\n# Pins: \
         backups\n@ Client::pin\npub fn a::Client::pin()\n"
    );
    assert_eq!(difference(&List::parse(text), &list), "+ pub fn a::Client::pin()\n+ pub mod a::error\n");

    let wrong = List::parse(text).with("a", &items(&["pub mod a", "pub fn a::Clients()"])).err().unwrap();
    let wrong = wrong.join("\n");
    assert!(wrong.contains("a: Clients: which group needs it? give the reason, or make it private"), "{wrong}");
    assert!(wrong.contains("take out the path 'error'"), "{wrong}");
    let wrong = List::parse("// .\n# Opening\n@ b\n").with("a", &items(&["pub mod a", "pub mod a::b"])).err().unwrap();
    assert_eq!(wrong, ["a: the group 'Opening' gives no reason"]);
}
