"""Launch profiles: how known engines are started as plain processes, as data."""
