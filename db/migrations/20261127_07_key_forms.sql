-- Idempotency keys of before come to the one form that all spellings of a key have now (docs/adr/0017)
-- depends: 20261127_01_references

-- migrate: apply

-- A key that a header gave in quotes stands here with them, and with its parameters; one that had blanks around it, with
-- those. A repetition of its request would not find it. Where several come to one form, or the form is used already,
-- they were taken for several requests: the earliest gets the form, the others stay as they are.
with odd as (
    select
        digest,
        client,
        movement_id,
        coalesce(
            regexp_replace(
                (
                    regexp_match(
                        key,
                        '^ *"((?:[ !#-\[\]-~]|\\["\\])*)"'
                        '(?: *; *[A-Za-z*][A-Za-z0-9_.*-]*(?:=(?:"(?:[ !#-\[\]-~]|\\["\\])*"|[^ ",;]+))?)* *$'
                    )
                )[1],
                '\\(["\\])',
                '\1',
                'g'
            ),
            key
        ) as unquoted
    from idempotency_keys
    where key like '"%' or key like ' %' or key like '% '
),

formed as (
    select
        digest,
        client,
        btrim(unquoted) as form,
        row_number() over (partition by client, btrim(unquoted) order by movement_id) as number
    from odd
)

update idempotency_keys as k
set key = f.form
from formed as f
where
    k.digest = f.digest
    and f.number = 1
    and f.form <> k.key
    and f.form <> ''
    and not exists (select from idempotency_keys as o where o.digest = key_digest(f.client, f.form));

-- migrate: rollback

-- The forms of before are not needed by any version: nothing to undo.
select 1;
