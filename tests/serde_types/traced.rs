//! The shapes of types: pinned, because shards remember them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroI8, NonZeroU32, Wrapping};
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::*;

/// The shape in a type's name.
fn shape<T: Stored>() -> String {
    let name = <Serde<T> as Codec>::name();
    let (_, shape) = name.split_once(")").and_then(|_| name.split_once('{')).unwrap();
    assert!(!shape.starts_with('!'), "{name}");
    shape.strip_suffix('}').unwrap().to_owned()
}

/// A wrapper that makes anything a value that is stored, for its shape.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Any<T>(T);
impl<T> PartialEq for Any<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<T> Eq for Any<T> {}
impl<T> PartialOrd for Any<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Any<T> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

fn any<T: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static>() -> String {
    let shape = shape::<Any<T>>();
    let (root, named) = shape.split_once(';').unwrap();
    assert_eq!(root, "@0");
    let (first, rest) = named.split_once(';').map_or((named, ""), |(first, rest)| (first, rest));
    let first = first.strip_prefix('(').and_then(|first| first.strip_suffix(')')).unwrap();
    if rest.is_empty() { first.to_owned() } else { format!("{first};{rest}") }
}

#[test]
fn types_of_the_standard_library_have_shapes() {
    assert_eq!(any::<(u8, u16, u32, u64, u128)>(), "(u8 u16 u32 u64 u128)");
    assert_eq!(any::<(i8, i16, i32, i64, i128)>(), "(i8 i16 i32 i64 i128)");
    assert_eq!(any::<(usize, isize, bool, char, f32, f64)>(), "(u64 i64 bool char f32 f64)");
    assert_eq!(any::<((), String, Box<str>, Arc<str>)>(), "(unit str str str)");
    assert_eq!(any::<[u8; 32]>(), "(u8*32)");
    assert_eq!(any::<Vec<Option<[u16; 2]>>>(), "[?(u16*2)]");
    assert_eq!(any::<(NonZeroU32, NonZeroI8, Wrapping<u8>)>(), "(u32 i8 u8)");
    assert_eq!(any::<BTreeMap<String, HashMap<u8, u16>>>(), "[str>[u8>u16]]");
    assert_eq!(any::<(HashSet<u8>, BTreeSet<u16>, VecDeque<u32>)>(), "([u8] [u16] [u32])");
    assert_eq!(any::<(Box<u8>, Arc<u16>)>(), "(u8 u16)");
    assert_eq!(any::<Duration>(), "@1;{secs:u64,nanos:u32}");
    assert_eq!(any::<SystemTime>(), "@1;{secs_since_epoch:u64,nanos_since_epoch:u32}");
    assert_eq!(any::<Range<u8>>(), "@1;{start:u8,end:u8}");
    assert_eq!(any::<PathBuf>(), "str");
    assert_eq!(any::<IpAddr>(), "@1;|V4((u8*4))|V6((u8*16))");
    assert_eq!(any::<SocketAddr>(), "@1;|V4(((u8*4) u16))|V6(((u8*16) u16))");
    assert_eq!(any::<Result<u8, String>>(), "@1;|Ok(u8)|Err(str)");
    assert_eq!(any::<Uuid>(), "bytes");
    #[cfg(unix)]
    assert_eq!(any::<std::ffi::OsString>(), "@1;|Unix([u8])|Windows?");
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Pair<A, B> {
    a: A,
    b: B,
}

/// One name with serde, two types.
#[test]
fn a_generic_type_has_a_shape_for_each_of_its_types() {
    type Nested = Pair<Pair<u8, String>, Pair<u16, Result<Pair<u8, String>, Result<u8, ()>>>>;
    let expected = "@0;{a:@1,b:@2};{a:u8,b:str};{a:u16,b:@3};|Ok(@1)|Err(@4);|Ok(u8)|Err(unit)";
    assert_eq!(shape::<Nested>(), expected);
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Tree {
    name: String,
    children: Vec<Tree>,
    parent: Option<Box<Tree>>,
    by_name: BTreeMap<String, Tree>,
    kind: Expression,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Expression {
    Add(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Of { tree: Box<Tree>, or: Option<Leaf> },
    Number(i64),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Leaf {
    A,
    B(u8),
    C(Unit),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Nest(Vec<Nest>);

#[test]
fn a_type_that_contains_itself_has_a_shape() {
    let tree = "{name:str,children:[@0],parent:?@0,by_name:[str>@0],kind:@1}";
    let expression = "|Add(@1,@1)|Not(@1)|Of{tree:@0,or:?@2}|Number(i64)";
    assert_eq!(shape::<Tree>(), format!("@0;{tree};{expression};|A|B(u8)|C(@3);()"));
    assert_eq!(shape::<Nest>(), "@0;([@0])");
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Endless(Box<Endless>);
    let name = <Serde<Endless> as Codec>::name();
    assert!(name.contains("{!"), "a type without a value: {name}");
}

/// Enums inside variants of enums, none of which is met in the first run.
#[test]
fn all_variants_of_all_enums_are_found() {
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Outer {
        Nothing,
        Some(Option<Middle>),
        Last(Vec<(u8, Inner)>),
    }
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Middle {
        Nothing,
        Inner(BTreeMap<u8, Inner>),
    }
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Inner {
        A,
        B,
        C(u8),
    }
    let expected = "@0;|Nothing|Some(?@1)|Last([(u8 @2)]);|Nothing|Inner([u8>@2]);|A|B|C(u8)";
    assert_eq!(shape::<Outer>(), expected);
}

/// A text that must be a date, a number that must not be zero, bytes of one length: as widely used crates have them.
#[test]
fn a_type_that_refuses_values_is_tried_with_others() {
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(try_from = "String")]
    struct Date(String);
    impl TryFrom<String> for Date {
        type Error = String;
        fn try_from(text: String) -> Result<Self, String> {
            let is_date = text.len() == 10 && text.split('-').count() == 3;
            is_date.then_some(Self(text)).ok_or_else(|| "not a date".to_owned())
        }
    }
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(try_from = "(u8, u8, u8)")]
    struct Rising(u8, u8, u8);
    impl TryFrom<(u8, u8, u8)> for Rising {
        type Error = String;
        fn try_from((a, b, c): (u8, u8, u8)) -> Result<Self, String> {
            (a < b && b < c).then_some(Self(a, b, c)).ok_or_else(|| "not rising".to_owned())
        }
    }
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(try_from = "Vec<u8>")]
    struct Key(Vec<u8>);
    impl TryFrom<Vec<u8>> for Key {
        type Error = String;
        fn try_from(key: Vec<u8>) -> Result<Self, String> {
            (key.len() == 32).then_some(Self(key)).ok_or_else(|| "not a key".to_owned())
        }
    }
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct All {
        kind: Option<Leaf>,
        dates: Vec<Date>,
        rising: Rising,
        key: Key,
        id: Uuid,
    }
    assert_eq!(shape::<All>(), "@0;{kind:?@1,dates:[str],rising:(u8*3),key:[u8],id:bytes};|A|B(u8)|C(@2);()");

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(try_from = "String")]
    struct Never(String);
    impl TryFrom<String> for Never {
        type Error = String;
        fn try_from(_: String) -> Result<Self, String> {
            Err("no {text} is right".to_owned())
        }
    }
    let name = <Serde<Never> as Codec>::name();
    assert_eq!(name, "serde(Never){!cannot be found out: no (text) is right}");
}

#[test]
fn names_are_those_that_serde_uses() {
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Renamed {
        first_field: u8,
        #[serde(rename = "a b{}:,;|")]
        odd: Variants,
    }
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Variants {
        #[serde(alias = "a")]
        One,
        #[serde(alias = "b", alias = "c")]
        Two(Aliased),
    }
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Aliased {
        #[serde(alias = "x")]
        one: u8,
        two: u16,
    }
    let aliased = "{one+two+x:u8,:u16}";
    let names = shape::<Renamed>();
    assert!(names.starts_with("@0;{firstField:u8,a%20b%7b%7d%3a%2c%3b%7c:@1};|"), "{names}");
    let parts: Vec<_> = names.split(';').collect();
    assert_eq!(parts[3].len(), aliased.len(), "{names}");
    assert_eq!(parts[2].matches('|').count(), 2, "{names}");
}

/// A long shape is its digest: still another for another type, and a name that does not grow.
#[test]
fn a_long_shape_is_its_digest() {
    type Ten<T> = (Vec<T>, Option<T>, Vec<(u8, T)>, BTreeMap<u8, T>, Vec<T>, Vec<T>, Vec<T>, Vec<T>, Vec<T>, Box<T>);
    type Long = Ten<Ten<Ten<Ten<u8>>>>;
    type Other = Ten<Ten<Ten<Ten<u16>>>>;
    let names = [<Serde<Any<Long>> as Codec>::name(), <Serde<Any<Other>> as Codec>::name()];
    let digests: BTreeSet<_> = names.iter().map(|name| name.split_once("{#").unwrap().1.len()).collect();
    assert_eq!(digests, BTreeSet::from([33]));
    assert_ne!(names[0].split_once("{#").unwrap().1, names[1].split_once("{#").unwrap().1);
}
