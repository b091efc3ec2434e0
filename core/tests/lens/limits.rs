//! What is no shape: one may come from storage.

use timely_persist_types::codec::{
    CONSTANT_BYTES_MAX, CONSTANT_COLUMN_BYTES_MAX, Codec, Constant, FieldShape, Leaf, Lens, NAME_BYTES_MAX,
    RetiredField, SHAPE_DEPTH_MAX, SHAPE_NODES_MAX, Shape, VARIANTS_MAX,
};

use crate::{field, retiring, structure, variants};

#[track_caller]
fn refused(shape: Shape, reason: &str) {
    let error = shape.check().unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
    assert!(Lens::between(&shape, &shape).unwrap_err().to_string().contains(reason));
    // At any place.
    let within = [
        Shape::Option(Box::new(shape.clone())),
        Shape::List(Box::new(shape.clone())),
        Shape::Tuple(vec![shape.clone()]),
    ];
    assert!(within.iter().all(|shape| shape.check().is_err()));
    let fields = vec![field(1, "a", shape.clone(), None)];
    assert!(structure("s", fields.clone()).check().is_err());
    assert!(variants("s", vec![(1, "A", fields)]).check().is_err());
    assert!(retiring("s", vec![], vec![RetiredField { id: 1, shape }]).check().is_err());
}

fn many(count: usize) -> Vec<FieldShape> {
    (1..=count as u32).map(|id| field(id, &format!("f{id}"), u8::shape(), None)).collect()
}

#[test]
fn ids_and_names_are_unique() {
    let fields = |fields: &[(u32, &str)]| {
        fields.iter().map(|(id, name)| field(*id, name, u8::shape(), None)).collect::<Vec<_>>()
    };
    refused(structure("s", fields(&[(0, "a")])), "struct `s` has an id of 0");
    refused(structure("s", fields(&[(1, "a"), (1, "b")])), "struct `s` has id 1 twice");
    refused(structure("s", fields(&[(1, "a"), (2, "a")])), "struct `s` has the name `a` twice");
    let retired = |id| RetiredField { id, shape: u8::shape() };
    refused(retiring("s", fields(&[(1, "a")]), vec![retired(1)]), "struct `s` has id 1 twice");
    refused(retiring("s", vec![], vec![retired(2), retired(2)]), "struct `s` has id 2 twice");
    refused(retiring("s", vec![], vec![retired(0)]), "struct `s` has an id of 0");
    refused(variants("e", vec![]), "enum `e` has 0 variants");
    refused(variants("e", vec![(0, "A", vec![])]), "enum `e` has an id of 0");
    refused(variants("e", vec![(1, "A", vec![]), (1, "B", vec![])]), "enum `e` has id 1 twice");
    refused(variants("e", vec![(1, "A", vec![]), (2, "A", vec![])]), "enum `e` has the name `A` twice");
    refused(variants("e", vec![(1, "A", fields(&[(1, "a"), (1, "b")]))]), "enum `e`::A has id 1 twice");
    refused(variants("e", vec![(1, "A", fields(&[(1, "a"), (2, "a")]))]), "enum `e`::A has the name `a` twice");
    refused(variants("e", vec![(1, "tag", fields(&[(1, "a")]))]), "`tag`");
    assert_eq!(variants("e", vec![(1, "tag", vec![]), (u32::MAX, "B", fields(&[(1, "a")]))]).check(), Ok(()));
}

#[test]
fn nothing_is_too_large() {
    for name in [String::new(), "x".repeat(NAME_BYTES_MAX + 1)] {
        refused(structure(&name, vec![]), "a name of ");
        refused(structure("s", vec![field(1, &name, u8::shape(), None)]), "a name of ");
        refused(variants(&name, vec![(1, "A", vec![])]), "a name of ");
        refused(variants("e", vec![(1, &name, vec![])]), "a name of ");
    }
    assert_eq!(structure(&"x".repeat(NAME_BYTES_MAX), vec![]).check(), Ok(()));
    // A field and what it holds are two.
    refused(structure("s", many(SHAPE_NODES_MAX / 2)), "more than 4096 fields");
    assert_eq!(structure("s", many(SHAPE_NODES_MAX / 2 - 1)).check(), Ok(()));
    let names: Vec<_> = (0..=VARIANTS_MAX).map(|id| format!("V{id}")).collect();
    let of = |count: usize| variants("e", (0..count).map(|id| (id as u32 + 1, &*names[id], vec![])).collect());
    assert_eq!(of(VARIANTS_MAX).check(), Ok(()));
    refused(of(VARIANTS_MAX + 1), "has 257 variants");
    let deep = |depth| (1..depth).fold(u8::shape(), |shape, _| Shape::Option(Box::new(shape)));
    assert_eq!(deep(SHAPE_DEPTH_MAX).check(), Ok(()));
    refused(deep(SHAPE_DEPTH_MAX + 1), "more than 32 deep");
    refused(Shape::Tuple(vec![]), "a tuple of nothing");
    let constant = |bytes: usize| Some(Constant::of(&"x".repeat(bytes)));
    let text = |default| structure("s", vec![field(1, "a", String::shape(), default)]);
    // Behind its length.
    assert_eq!(text(constant(CONSTANT_BYTES_MAX - 8)).check(), Ok(()));
    refused(
        text(constant(CONSTANT_BYTES_MAX - 7)),
        "the default of field `a` of struct `s` takes 4097 bytes, more than 4096",
    );
    let column = vec![0; CONSTANT_COLUMN_BYTES_MAX + 1];
    refused(text(Some(Constant { digest: vec![], column })), "takes 65537 bytes, more than 65536");
}

#[test]
fn numbers_are_of_widths_that_there_are() {
    let leaves = [
        Leaf::Unsigned(0),
        Leaf::Unsigned(9),
        Leaf::Signed(255),
        Leaf::Float(16),
        Leaf::Decimal { precision: 0, scale: 0 },
        Leaf::Decimal { precision: 39, scale: 0 },
        Leaf::Decimal { precision: 3, scale: 4 },
        Leaf::Decimal { precision: 3, scale: -1 },
    ];
    for leaf in leaves {
        refused(Shape::Leaf(leaf), "there are no numbers of type ");
    }
    assert_eq!(Shape::Leaf(Leaf::Decimal { precision: 38, scale: 38 }).check(), Ok(()));
}
