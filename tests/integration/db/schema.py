"""A database's schema as text, from the catalogs, so that two of them can be compared."""

import asyncpg

_QUERIES = {
    "columns": """
        select table_name, column_name, data_type, collation_name, is_nullable, column_default
        from information_schema.columns where table_schema = 'public'
        order by table_name, ordinal_position""",
    "row types": """
        select attrelid::regclass::text as type, attnum, attname, format_type(atttypid, atttypmod) as of
        from pg_attribute join pg_class on attrelid = pg_class.oid
        where relkind = 'c' and relnamespace = 'public'::regnamespace order by 1, 2""",
    "constraints": """
        select conrelid::regclass::text as on_table, conname, pg_get_constraintdef(oid) as definition
        from pg_constraint where connamespace = 'public'::regnamespace order by 1, 2""",
    "indexes": "select tablename, indexdef from pg_indexes where schemaname = 'public' order by 1, 2",
    "triggers": """
        select tgrelid::regclass::text as on_table, tgenabled::text, pg_get_triggerdef(oid) as definition
        from pg_trigger where not tgisinternal order by 1, 3""",
    "functions": """
        select proname, pg_get_functiondef(oid) as definition
        from pg_proc where pronamespace = 'public'::regnamespace order by 1""",
    "options": """
        select relname, relkind::text, reloptions, obj_description(oid) as comment
        from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'i', 'S', 'v')
        order by 1""",
}


async def describe(connection: asyncpg.Connection) -> str:
    """Return tables, constraints, indexes, triggers, functions and options; not what pogo-migrate keeps."""
    lines = []
    for title, query in _QUERIES.items():
        for row in await connection.fetch(query):
            line = f"{title}: {dict(row)}"
            if "pogo" not in line:
                lines.append(line)
    return "\n".join(lines)
