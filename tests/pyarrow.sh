#!/bin/sh
# Shows that any Arrow tool opens a part: reads the golden files with pyarrow from PyPI.
# Not one of the tests that `make test` runs: those need no Python.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
environment=${PYARROW_ENVIRONMENT:-$(mktemp -d)/pyarrow}
[ -x "$environment/bin/python" ] || python3 -m venv "$environment"
"$environment/bin/python" -c 'import pyarrow' 2>/dev/null || "$environment/bin/pip" install --quiet pyarrow
"$environment/bin/python" - "$here/golden/part_v1.arrow" 10 "$here/golden/part_leaves_v1.arrow" 7 <<'PYTHON'
import sys
import pyarrow

print("pyarrow", pyarrow.__version__)
for path, rows in zip(sys.argv[1::2], sys.argv[2::2]):
    with pyarrow.ipc.open_file(path) as part:
        print(path)
        print(part.schema)
        batches = [part.get_batch(i) for i in range(part.num_record_batches)]
        print([batch.num_rows for batch in batches], "rows")
        for batch in batches:
            batch.validate(full=True)
            for row in batch.to_pylist():
                print(row)
        assert sum(batch.num_rows for batch in batches) == int(rows)
PYTHON
