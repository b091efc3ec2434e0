"""Opens the golden parts with an Arrow tool and compares what it finds with what is written down here.

`python check.py TOOL DIRECTORY`, where TOOL is pyarrow, polars or duckdb. `../arrow_tools.rs` runs it, and has the rows.
"""

import datetime
import decimal
import math
import pathlib
import sys

import pyarrow as pa

ID = b"timely_persist.id"

# Columns of the first part, one a field, by the place in a file: rows `greatest`, `least` and `usual`.
NAMES = ["greatest", "least", "usual"]
TIMES = [7, 0, 2**64 - 1]
DIFFS = [2**63 - 1, -(2**63), -1]


def days(year, month, day):
    return (datetime.date(year, month, day) - datetime.date(1970, 1, 1)).days


def micros(*moment):
    since = datetime.datetime(*moment) - datetime.datetime(1970, 1, 1)
    return since // datetime.timedelta(microseconds=1)


def unsigned_bytes(number):
    return number.to_bytes(16, "big")


def signed_bytes(number):
    return (number + 2**127).to_bytes(16, "big")  # in the order of the numbers


def some(value):
    return {"some": value}


def field(name, type, id=None, nullable=False):
    return pa.field(name, type, nullable, None if id is None else {ID: str(id)})


def option(type):
    return pa.struct([field("some", type)])


def each(type):
    return pa.list_(field("item", type))


def place(street, number):
    return {"street": street, "number": number}


def event(tag, moved, left):
    return {"tag": tag, "Moved": moved, "Left": left}


# Python has no years before 1: days and microseconds are compared as numbers. 1 BC is year 0, a leap year.
YEAR_0 = days(1, 1, 1) - 366
FIRST_DAY = YEAR_0 - 9999 * 365 - 9999 // 4 + 9999 // 100 - 9999 // 400
FIRST_MOMENT = FIRST_DAY * 86_400_000_000 + (86_400 + 3_600 + 59 * 60 + 59) * 1_000_000
USUAL_MOMENT = micros(2024, 2, 29, 12, 34, 56, 789_012)
LAST_MOMENT = micros(9999, 12, 30, 22, 0, 0, 999_999)
LAST_LOCAL = micros(9999, 12, 31, 23, 59, 59, 999_999)
UTC = pa.timestamp("us", tz="UTC")

PLACE = pa.struct([field("street", pa.string(), 2), field("number", option(pa.uint16()), 1, nullable=True)])
MOVED = pa.struct([field("to", PLACE, 1), field("on", pa.date32(), 2)])
LEFT = pa.struct([field("0", pa.uint32(), 1)])
EVENT = pa.struct(
    [field("tag", pa.uint8()), field("Moved", MOVED, 4, nullable=True), field("Left", LEFT, 6, nullable=True)]
)
PAIR = pa.struct([field("0", pa.int16()), field("1", pa.string())])
ASKED = event(0, None, None)

# Name, id, type, values; DuckDB's type; polars' type, as they write them.
COLUMNS = [
    ("truth", 101, pa.bool_(), [True, False, True], "BOOLEAN", "Boolean"),
    ("tiny", 102, pa.uint8(), [2**8 - 1, 0, 1], "UTINYINT", "UInt8"),
    ("short", 103, pa.uint16(), [2**16 - 1, 0, 2], "USMALLINT", "UInt16"),
    ("int", 104, pa.uint32(), [2**32 - 1, 0, 3], "UINTEGER", "UInt32"),
    ("long", 105, pa.uint64(), [2**64 - 1, 0, 4], "UBIGINT", "UInt64"),
    ("huge", 106, pa.binary(16), [unsigned_bytes(n) for n in [2**128 - 1, 0, 5]], "BLOB", "Binary"),
    ("signed_tiny", 112, pa.int8(), [2**7 - 1, -(2**7), -1], "TINYINT", "Int8"),
    ("signed_short", 113, pa.int16(), [2**15 - 1, -(2**15), -2], "SMALLINT", "Int16"),
    ("signed_int", 114, pa.int32(), [2**31 - 1, -(2**31), -3], "INTEGER", "Int32"),
    ("signed_long", 115, pa.int64(), [2**63 - 1, -(2**63), -4], "BIGINT", "Int64"),
    ("signed_huge", 116, pa.binary(16), [signed_bytes(n) for n in [2**127 - 1, -(2**127), -5]], "BLOB", "Binary"),
    ("uuid", 120, pa.binary(16), [b"\xff" * 16, bytes(16), bytes(n * 0x11 for n in range(16))], "BLOB", "Binary"),
    ("single", 121, pa.float32(), [math.nan, -math.inf, 0.5], "FLOAT", "Float32"),
    ("double", 122, pa.float64(), [math.nan, -math.inf, -0.1], "DOUBLE", "Float64"),
    (
        "price",
        123,
        pa.decimal128(10, 2),
        [decimal.Decimal(text) for text in ["99999999.99", "-99999999.99", "-19.99"]],
        "DECIMAL(10,2)",
        "Decimal(precision=10, scale=2)",
    ),
    (
        "exact",
        124,
        pa.decimal128(38, 10),
        [decimal.Decimal(text) for text in ["9" * 28 + "." + "9" * 10, "-" + "9" * 28 + "." + "9" * 10]]
        + [decimal.Decimal("1234567890.1234567890")],
        "DECIMAL(38,10)",
        "Decimal(precision=38, scale=10)",
    ),
    ("day", 130, pa.date32(), [days(9999, 12, 31), FIRST_DAY, days(2024, 2, 29)], "DATE", "Date"),
    (
        "moment",
        131,
        UTC,
        [LAST_MOMENT, FIRST_MOMENT, USUAL_MOMENT],
        "TIMESTAMP WITH TIME ZONE",
        "Datetime(time_unit='us', time_zone='UTC')",
    ),
    (
        "local",
        132,
        pa.timestamp("us"),
        [LAST_LOCAL, FIRST_DAY * 86_400_000_000, USUAL_MOMENT],
        "TIMESTAMP",
        "Datetime(time_unit='us', time_zone=None)",
    ),
    ("jiff_day", 133, pa.date32(), [days(9999, 12, 31), FIRST_DAY, days(2024, 2, 29)], "DATE", "Date"),
    (
        "jiff_moment",
        134,
        UTC,
        [LAST_MOMENT, FIRST_MOMENT, USUAL_MOMENT],
        "TIMESTAMP WITH TIME ZONE",
        "Datetime(time_unit='us', time_zone='UTC')",
    ),
    (
        "jiff_local",
        135,
        pa.timestamp("us"),
        [LAST_LOCAL, FIRST_DAY * 86_400_000_000, USUAL_MOMENT],
        "TIMESTAMP",
        "Datetime(time_unit='us', time_zone=None)",
    ),
    ("text", 140, pa.string(), ["\U0010ffff", "", "naïve"], "VARCHAR", "String"),
    ("shared_text", 141, pa.string(), ["a\0b", "", "日本"], "VARCHAR", "String"),
    ("bytes", 142, pa.binary(), [b"\xff" * 300, b"", b"\x00\x01\xff"], "BLOB", "Binary"),
    ("shared_bytes", 143, pa.binary(), [b"abc", b"", b"abc"], "BLOB", "Binary"),
    ("words", 150, each(pa.string()), [["ß" * 100], [], ["one", "", "three"]], "VARCHAR[]", "List(String)"),
    (
        "table",
        151,
        each(each(pa.int64())),
        [[[-(2**63), 2**63 - 1]], [], [[1, 2], [], [3]]],
        "BIGINT[][]",
        "List(List(Int64))",
    ),
    (
        "gaps",
        152,
        pa.list_(field("item", option(pa.uint16()), nullable=True)),
        [[None, None, some(2**16 - 1)], [], [some(1), None]],
        'STRUCT("some" USMALLINT)[]',
        "List(Struct({'some': UInt16}))",
    ),
    (
        "note",
        160,
        option(pa.string()),
        [some(""), None, some("late")],
        'STRUCT("some" VARCHAR)',
        "Struct({'some': String})",
    ),
    (
        "twice",
        161,
        pa.struct([field("some", option(pa.int32()), nullable=True)]),
        [some(None), None, some(some(-7))],
        'STRUCT("some" STRUCT("some" INTEGER))',
        "Struct({'some': Struct({'some': Int32})})",
    ),
    ("nothing", 170, pa.null(), [None, None, None], '"NULL"', "Null"),
    ("boxed", 171, pa.uint32(), [2**32 - 1, 0, 6], "UINTEGER", "UInt32"),
    (
        "pair",
        172,
        PAIR,
        [{"0": 2**15 - 1, "1": "\U0010ffff"}, {"0": -(2**15), "1": ""}, {"0": -8, "1": "eight"}],
        'STRUCT("0" SMALLINT, "1" VARCHAR)',
        "Struct({'0': Int16, '1': String})",
    ),
    ("opaque", 173, pa.binary(), [b"\x02\x01\x02", b"\x00", b"\x02\x01\x02"], "BLOB", "Binary"),
    (
        "place",
        180,
        PLACE,
        [place("z", some(2**16 - 1)), place("", None), place("Main", some(12))],
        'STRUCT(street VARCHAR, number STRUCT("some" USMALLINT))',
        "Struct({'street': String, 'number': Struct({'some': UInt16})})",
    ),
    ("state", 181, pa.uint8(), [2, 0, 1], "UTINYINT", "UInt8"),
    (
        "event",
        182,
        EVENT,
        [
            event(2, None, {"0": 2**32 - 1}),
            ASKED,
            event(1, {"to": place("Side", None), "on": datetime.date(1999, 12, 31)}, None),
        ],
        'STRUCT(tag UTINYINT, Moved STRUCT("to" STRUCT(street VARCHAR, number STRUCT("some" USMALLINT)), "on" DATE), '
        '"Left" STRUCT("0" UINTEGER))',
        "Struct({'tag': UInt8, 'Moved': Struct({'to': Struct({'street': String, 'number': Struct({'some': UInt16})}), "
        "'on': Date}), 'Left': Struct({'0': UInt32})})",
    ),
    (
        "last",
        183,
        option(EVENT),
        [some(ASKED), None, some(event(2, None, {"0": 9}))],
        'STRUCT("some" STRUCT(tag UTINYINT, Moved STRUCT("to" STRUCT(street VARCHAR, number STRUCT("some" USMALLINT)), '
        '"on" DATE), "Left" STRUCT("0" UINTEGER)))',
        "Struct({'some': Struct({'tag': UInt8, 'Moved': Struct({'to': Struct({'street': String, 'number': "
        "Struct({'some': UInt16})}), 'on': Date}), 'Left': Struct({'0': UInt32})})})",
    ),
    ("type", 184, pa.string(), ["order", "", "order"], "VARCHAR", "String"),
]

OPTIONAL = {"note", "twice", "nothing", "last"}


def equal(found, expected):
    """NaN is NaN; and True is not 1."""
    if isinstance(expected, float) and math.isnan(expected):
        return isinstance(found, float) and math.isnan(found)
    return type(found) is type(expected) and found == expected


def compare(what, found, expected):
    if isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        if all(equal(*pair) for pair in zip(found, expected)):
            return
    elif equal(found, expected):
        return
    sys.exit(f"{what}: {found!r} instead of {expected!r}")


def read(path):
    with pa.ipc.open_file(path) as part:
        return part.read_all()


def check_pyarrow(directory):
    part = directory / "part_everything_v1.arrow"
    with pa.ipc.open_file(part) as file:
        compare("batches", [file.get_batch(i).num_rows for i in range(file.num_record_batches)], [2, 1])
    table = read(part)
    table.validate(full=True)
    fields = [field(name, type, id, nullable=name in OPTIONAL) for name, id, type, *_ in COLUMNS]
    expected = pa.schema(
        [
            field("key", pa.string()),
            field("value", pa.struct(fields)),
            field("time", pa.uint64()),
            field("diff", pa.int64()),
        ]
    )
    if not table.schema.equals(expected, check_metadata=True):
        sys.exit(f"the schema is\n{table.schema}\ninstead of\n{expected}")
    compare("key", table.column("key").to_pylist(), NAMES)
    compare("time", table.column("time").to_pylist(), TIMES)
    compare("diff", table.column("diff").to_pylist(), DIFFS)
    value = table.column("value").combine_chunks()
    for name, _, type, values, *_ in COLUMNS:
        column = value.field(name)
        if pa.types.is_temporal(type):
            column = column.cast(pa.int32() if pa.types.is_date(type) else pa.int64())
        compare(name, column.to_pylist(), values)
    # The other golden parts are of keys and values that are no structs, or have other fields: they open, and are whole.
    for name, rows in [("part_v1", 10), ("part_leaves_v1", 7), ("part_derived_v1", 4)]:
        table = read(directory / f"{name}.arrow")
        table.validate(full=True)
        compare(name, table.column_names, ["key", "value", "time", "diff"])
        compare(name, table.num_rows, rows)
    derived = read(directory / "part_derived_v1.arrow").schema.field("key").type
    compare("fields", [part.name for part in derived], ["id", "customer", "note", "priority", "type", "len"])


def check_polars(directory):
    import polars

    table = polars.read_ipc(directory / "part_everything_v1.arrow")
    types = ", ".join(f"'{name}': {type}" for name, _, _, _, _, type in COLUMNS)
    compare("value", str(table.schema["value"]), f"Struct({{{types}}})")
    compare("columns", {name: str(type) for name, type in table.schema.items() if name != "value"},
            {"key": "String", "time": "UInt64", "diff": "Int64"})
    compare("key", table["key"].to_list(), NAMES)
    compare("time", table["time"].to_list(), TIMES)
    compare("diff", table["diff"].to_list(), DIFFS)
    value = table["value"].struct.unnest()
    for name, _, type, values, *_ in COLUMNS:
        column = value[name]
        if pa.types.is_temporal(type):
            column = column.to_physical()
        compare(name, column.to_list(), values)


def check_duckdb(directory):
    import duckdb

    connection = duckdb.connect()
    connection.register("part", read(directory / "part_everything_v1.arrow"))
    described = connection.sql("select column_name, column_type from (describe select * exclude value from part)")
    compare("columns", dict(described.fetchall()), {"key": "VARCHAR", "time": "UBIGINT", "diff": "BIGINT"})
    fields = connection.sql("select unnest(value) from part")
    compare("fields", fields.columns, [name for name, *_ in COLUMNS])

    def column(expression):
        return [value for (value,) in connection.sql(f"select {expression} from part").fetchall()]

    compare("key", column("key"), NAMES)
    compare("time", column("time"), TIMES)
    compare("diff", column("diff"), DIFFS)
    for name, _, type, values, duck, _ in COLUMNS:
        expression = f'value."{name}"'
        compare(f"type of {name}", column(f"typeof({expression})"), [duck] * len(NAMES))
        if pa.types.is_date(type):
            expression += " - DATE '1970-01-01'"
        elif pa.types.is_timestamp(type):
            expression = f"epoch_us({expression})"
        compare(name, column(expression), values)
    # As somebody would ask it.
    asked = "select value.place.street from part where value.moment > TIMESTAMPTZ '2024-01-01 00:00:00+00' order by key"
    compare("a question", connection.sql(asked).fetchall(), [("z",), ("Main",)])


if __name__ == "__main__":
    tool, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    {"pyarrow": check_pyarrow, "polars": check_polars, "duckdb": check_duckdb}[tool](directory)
    print("as expected")
