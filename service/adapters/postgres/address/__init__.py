"""Where a database is: connection strings, services and password files, as libpq reads them."""
