"""mem://: a file system in memory, without folders, as a bucket is. To import it is to register it with Beam."""

import io
import time

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem

FILES = {}  # URL -> (bytes, time)
LOG = []  # (what, URL)


class _Writer(io.BytesIO):
    """The object appears when it is closed, whole, as in a bucket."""

    def __init__(self, url):
        super().__init__()
        self._url = url

    def close(self):
        if not self.closed:
            FILES[self._url] = (self.getvalue(), time.time())
            LOG.append(("create", self._url))
        super().close()


class MemoryFileSystem(FileSystem):
    @classmethod
    def scheme(cls):
        return "mem"

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *(path.strip("/") for path in paths)])

    def split(self, path):
        return tuple(path.rsplit("/", 1))

    def mkdirs(self, path):
        pass

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        return (self.metadata(url) for url in sorted(FILES) if url.startswith(dir_or_prefix))

    def create(self, path, mime_type=None, compression_type=None):
        return _Writer(path)

    def open(self, path, mime_type=None, compression_type=None):
        LOG.append(("open", path))
        return io.BytesIO(self._get(path)[0])

    def _get(self, path):
        if path not in FILES:
            raise BeamIOError(f"no object {path}")
        return FILES[path]

    def copy(self, source_file_names, destination_file_names):
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            FILES[destination] = self._get(source)

    def rename(self, source_file_names, destination_file_names):
        self.copy(source_file_names, destination_file_names)
        LOG.extend(("create", path) for path in destination_file_names)
        self.delete(source_file_names)

    def exists(self, path):
        return path in FILES

    def size(self, path):
        return len(self._get(path)[0])

    def last_updated(self, path):
        return self._get(path)[1]

    def metadata(self, path):
        return FileMetadata(path, self.size(path), self.last_updated(path))

    def delete(self, paths):
        for path in paths:
            for url in [url for url in list(FILES) if url == path or path.endswith("/") and url.startswith(path)]:
                del FILES[url]
