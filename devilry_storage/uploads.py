"""An upload handler that receives files into the store where they will be kept."""

import logging
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.db import router

from .identity import check_writing
from .registry import configured_stores
from .storages.base import DeliveryStoreMixin
from .storages.received import Received

logger = logging.getLogger("devilry_storage")


class DeliveryUploadHandler(TemporaryFileUploadHandler):
    """Write uploads into the store, which publishes them without copying them.

    For ``FILE_UPLOAD_HANDLERS``, in the place of Django's ``TemporaryFileUploadHandler``. If the
    store cannot receive an upload, it is logged, and the upload goes to Django's temporary folder.
    An upload that is stored in another store is copied.
    """

    file: Any

    def get_store(self) -> DeliveryStoreMixin:
        """Return the store that receives uploads: that of the first model of files.

        Override it if most uploads go to another store. Raises ImproperlyConfigured.
        """
        for configured in configured_stores():
            return configured.store
        raise ImproperlyConfigured("No model of files has a store.")

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super(TemporaryFileUploadHandler, self).new_file(*args, **kwargs)
        try:
            store = self.get_store()
            for configured in configured_stores():
                if configured.store is store:  # its folder must not be made if it is not mounted
                    model = configured.models[0]
                    check_writing(model, router.db_for_write(model))
            sink = store._sink(self.file_name or "")
        except (OSError, NotImplementedError, ImproperlyConfigured):
            logger.exception("The store cannot receive the upload %r.", self.file_name)
            super().new_file(*args, **kwargs)
            return
        details = (self.content_type, 0, self.charset, self.content_type_extra)
        self.file = Received(sink, self.file_name, *details)

    def file_complete(self, file_size: int) -> Any:
        if isinstance(self.file, Received):
            self.file.complete()
            return self.file
        return super().file_complete(file_size)

    def upload_interrupted(self) -> None:
        if isinstance(getattr(self, "file", None), Received):
            self.file.close()
        else:
            super().upload_interrupted()
