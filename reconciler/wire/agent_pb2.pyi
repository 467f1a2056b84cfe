from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class AuthorityRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AuthorityReply(_message.Message):
    __slots__ = ("certificate",)
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    def __init__(self, certificate: _Optional[bytes] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("version", "oldest", "token", "host", "request")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    version: int
    oldest: int
    token: str
    host: str
    request: bytes
    def __init__(self, version: _Optional[int] = ..., oldest: _Optional[int] = ..., token: _Optional[str] = ..., host: _Optional[str] = ..., request: _Optional[bytes] = ...) -> None: ...

class JoinReply(_message.Message):
    __slots__ = ("certificate", "instance", "pool", "port")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    instance: str
    pool: str
    port: int
    def __init__(self, certificate: _Optional[bytes] = ..., instance: _Optional[str] = ..., pool: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("version", "oldest", "request")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    version: int
    oldest: int
    request: bytes
    def __init__(self, version: _Optional[int] = ..., oldest: _Optional[int] = ..., request: _Optional[bytes] = ...) -> None: ...

class RenewReply(_message.Message):
    __slots__ = ("certificate",)
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    def __init__(self, certificate: _Optional[bytes] = ...) -> None: ...

class Up(_message.Message):
    __slots__ = ("version", "oldest", "host", "session", "generation", "state")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    version: int
    oldest: int
    host: str
    session: int
    generation: int
    state: bytes
    def __init__(self, version: _Optional[int] = ..., oldest: _Optional[int] = ..., host: _Optional[str] = ..., session: _Optional[int] = ..., generation: _Optional[int] = ..., state: _Optional[bytes] = ...) -> None: ...

class Down(_message.Message):
    __slots__ = ("version", "oldest", "host", "generation", "assignments")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    version: int
    oldest: int
    host: str
    generation: int
    assignments: bytes
    def __init__(self, version: _Optional[int] = ..., oldest: _Optional[int] = ..., host: _Optional[str] = ..., generation: _Optional[int] = ..., assignments: _Optional[bytes] = ...) -> None: ...

class CodeRequest(_message.Message):
    __slots__ = ("tree",)
    TREE_FIELD_NUMBER: _ClassVar[int]
    tree: str
    def __init__(self, tree: _Optional[str] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...
