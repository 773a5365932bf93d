import pathlib
import pickle
import subprocess
import sys
import warnings
import zipfile

import pytest
from checkpoint_conversion import gadgets

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.files import pickle_scan

NAMES = sorted(gadgets.pickles("x"))
FORMS = {"archive": gadgets.archive, "legacy": gadgets.legacy, "plain pickle": lambda body: body}


@pytest.mark.parametrize("name", NAMES)
def test_the_gadgets_are_live(tmp_path, name):
    sentinel = tmp_path / "sentinel"
    code = "import pickle, sys, time\ntry:\n pickle.loads(sys.stdin.buffer.read())\nfinally:\n time.sleep(0.05)"
    subprocess.run([sys.executable, "-c", code], input=gadgets.pickles(sentinel)[name], capture_output=True)
    assert sentinel.exists(), "this test would prove nothing: the gadget does not work"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_no_gadget_passes_or_runs(tmp_path, name, form):
    sentinel, path = tmp_path / "sentinel", tmp_path / "weights.pth"
    path.write_bytes(FORMS[form](gadgets.pickles(sentinel)[name]))
    with pytest.raises(errors.UserError) as error:
        pickle_scan.check(path)
    message = str(error.value)
    assert message.startswith(f"{path}: refused, nothing of it was run: ") and "\n" not in message
    assert not sentinel.exists()


def test_an_archive_must_be_torchs_own(tmp_path):
    path, plain = tmp_path / "weights.pth", pickle.dumps({}, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a name stands twice
        twice = gadgets.archive(plain, more=[("archive/data.pkl", plain)])
    for data, words in (
        (twice, "two members of one name"),
        (gadgets.archive(plain, more=[("archive/code/a.py", b"")]), "is code"),
        (gadgets.archive(plain, more=[("archive/constants.pkl", b"")]), "is code"),
        (gadgets.archive(plain, more=[("other/data.pkl", plain)]), "has no data.pkl of its own"),
        (gadgets.archive(plain, compression=zipfile.ZIP_DEFLATED), "is compressed"),
        (gadgets.archive(plain)[:-30], "broken or cut off"),
        (b"", "neither safetensors nor a file of torch"),
        (b"<html>not found</html>", "neither safetensors nor a file of torch"),
        (plain, "none that torch has written"),
        (bytes(1000), "neither safetensors nor a file of torch"),
    ):
        path.write_bytes(data)
        with pytest.raises(errors.UserError, match=words):
            pickle_scan.check(path)


def test_weights_pass(tmp_path):
    # What torch.save writes for {"w": tensor} (protocol 2), taken from its output and shortened to two entries.
    body = (
        b"\x80\x02}q\x00(X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00\x00storageq\x03"
        b"ctorch\nHalfStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x06tq\x07QK\x00K\x02K\x03\x86q\x08"
        b"K\x03K\x01\x86q\t\x89ccollections\nOrderedDict\nq\n)Rq\x0btq\x0cRq\rX\x05\x00\x00\x00epochq\x0eK\x03u."
    )
    path = pathlib.Path(tmp_path) / "weights.pth"
    for data in (gadgets.archive(body, more=[("archive/data/0", bytes(12))]), gadgets.legacy(body)):
        path.write_bytes(data)
        pickle_scan.check(path)


@pytest.mark.parametrize("name", ["_rebuild_tensor_v3", "_rebuild_qtensor"])
def test_small_types_are_told_as_what_they_are(tmp_path, name):
    path = tmp_path / "weights.pth"
    path.write_bytes(gadgets.archive(f"\x80\x02}}X\x01\x00\x00\x00actorch._utils\n{name}\ns.".encode("latin-1")))
    with pytest.raises(errors.UserError, match="it holds numbers of 8 bits or fewer, which are not read"):
        pickle_scan.check(path)
