package adopt

import (
	"context"
	"fmt"

	"entgo.io/ent/dialect"
)

// here is the schema in which tables are made.
const here = "(SELECT oid FROM pg_namespace WHERE nspname = pg_catalog.current_schema())"

// ours is the condition that t is one of the old tables.
const ours = "t.relnamespace = " + here + " AND t.relname IN ('users', 'files', 'used_password_reset_tokens', 'blacklisted_tokens')"

func (a *adoption) postgresRelations(ctx context.Context) (found []relation, unknown []string, err error) {
	if encoding, err := one[string](ctx, a.db, "SHOW server_encoding"); err != nil || encoding != "UTF8" {
		if err == nil {
			err = fmt.Errorf("the encoding of the database is %s: dump it, and restore it into a database of UTF8", encoding)
		}
		return nil, nil, err
	}
	all, err := page(ctx, a.db, 2, `SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
			WHEN 'p' THEN 'partitioned table' ELSE 'foreign table' END, relname::text
		FROM pg_class c WHERE relnamespace = `+here+` AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
			AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
			AND c.oid NOT IN (SELECT sequence FROM (`+idSequences+`) of_ids) ORDER BY 2`)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range all {
		columns, err := page(ctx, a.db, 2, `SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute
			WHERE attrelid = (SELECT oid FROM pg_class WHERE relname = $1 AND relnamespace = `+here+`) AND attnum > 0 AND NOT attisdropped`, r[1])
		if err != nil {
			return nil, nil, err
		}
		types := make(map[string]string, len(columns))
		for _, c := range columns {
			types[fmt.Sprint(c[0])] = fmt.Sprint(c[1])
		}
		found = append(found, relation{fmt.Sprint(r[0]), fmt.Sprint(r[1]), types})
	}
	unknown, err = list[string](ctx, a.db, dependents)
	if err != nil {
		return nil, nil, err
	}
	a.shape.leftover, err = list[string](ctx, a.db, `SELECT 'DROP SEQUENCE `+prefix+`' || s.oid FROM pg_class s
		WHERE s.relnamespace = `+here+` AND s.oid IN (SELECT sequence FROM (`+idSequences+`) of_ids) AND NOT EXISTS (
			SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0)
		ORDER BY 1`)
	return found, unknown, err
}

// idSequences are those that belong to a column of the old tables, or give it its default.
const idSequences = `SELECT d.objid AS sequence, t.relname AS owner FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
	WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND ` + ours + `
	UNION SELECT d.refobjid, t.relname FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid JOIN pg_class t ON t.oid = f.adrelid JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
	WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND ` + ours

// dependents are what would go with the old tables, or keep them from going.
const dependents = `WITH t AS (SELECT oid, relname, relrowsecurity FROM pg_class t WHERE ` + ours + ` OR relnamespace = ` + here + ` AND relname = '` + alembicTable + `')
	SELECT pg_catalog.format('trigger %s of %s', tgname, relname) FROM pg_trigger JOIN t ON t.oid = tgrelid WHERE NOT tgisinternal
	UNION SELECT pg_catalog.format('policy %s of %s', polname, relname) FROM pg_policy JOIN t ON t.oid = polrelid
	UNION SELECT pg_catalog.format('row security of %s', relname) FROM t WHERE relrowsecurity
	UNION SELECT CASE WHEN v.oid = t.oid THEN pg_catalog.format('rule %s of %s', rulename, relname) ELSE pg_catalog.format('%s %s', CASE v.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, v.oid::regclass) END
		FROM pg_depend d JOIN t ON d.refobjid = t.oid JOIN pg_rewrite r ON r.oid = d.objid JOIN (SELECT oid, relkind FROM pg_class) v ON v.oid = r.ev_class
		WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
	UNION SELECT pg_catalog.format('foreign key %s of %s', conname, conrelid::regclass) FROM pg_constraint JOIN t ON t.oid = confrelid
		WHERE contype = 'f' AND conrelid NOT IN (SELECT oid FROM t)
	UNION SELECT pg_catalog.format('inheritance of %s and %s', inhrelid::regclass, inhparent::regclass) FROM pg_inherits JOIN t ON t.oid IN (inhrelid, inhparent)
	UNION SELECT pg_catalog.format('publication %s of %s', pubname, relname) FROM pg_publication_rel JOIN pg_publication p ON p.oid = prpubid JOIN t ON t.oid = prrelid
	UNION SELECT pg_catalog.format('statistics %s of %s', stxname, relname) FROM pg_statistic_ext JOIN t ON t.oid = stxrelid
	UNION SELECT pg_catalog.format('function %s', objid::regprocedure) FROM pg_depend JOIN t ON t.oid = refobjid
		WHERE classid = 'pg_proc'::regclass AND refclassid = 'pg_class'::regclass
	ORDER BY 1`

// postgresAway renames them: a primary key cannot do without its index, nor a default without its sequence.
func (a *adoption) postgresAway(ctx context.Context) ([]string, error) {
	return list[string](ctx, a.db, `SELECT pg_catalog.format('ALTER INDEX %I RENAME TO %I', i.relname, '`+prefix+`' || i.oid)
			FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid WHERE `+ours+`
		UNION SELECT pg_catalog.format('ALTER SEQUENCE %I RENAME TO %I', relname, '`+prefix+`' || oid) FROM pg_class WHERE relnamespace = `+here+` AND oid IN (SELECT sequence FROM (`+idSequences+`) of_ids)
		ORDER BY 1`)
}

func (a *adoption) postgresNext(ctx context.Context, name string) (int64, error) {
	sequences, err := list[string](ctx, a.db, `SELECT pg_catalog.format('%I.%I', n.nspname, s.relname) FROM pg_class s JOIN pg_namespace n ON n.oid = s.relnamespace
		WHERE s.oid IN (SELECT sequence FROM (`+idSequences+`) of_ids WHERE owner = $1)`, name)
	if err != nil {
		return 0, err
	}
	next := int64(1)
	for _, sequence := range sequences {
		position, err := one[int64](ctx, a.db, "SELECT last_value + is_called::int FROM "+sequence)
		if err != nil {
			return 0, err
		}
		next = max(next, position)
	}
	return next, nil
}

// newTables are ours, with the old one whose owner and grants each gets. Of the account of migrations
// others than its owner may only read.
var newTables = [][2]string{
	{"users", "users"},
	{"files", "files"},
	{"used_password_reset_tokens", "used_password_reset_tokens"},
	{"blacklisted_tokens", "blacklisted_tokens"},
	{"audit_logs", "users"},
	{revisionsTable, "users"},
}

// grant lets those use the new tables who used the old ones.
func (a *adoption) grant(ctx context.Context) error {
	if a.db.Dialect() != dialect.Postgres {
		return nil
	}
	for _, pair := range newTables {
		statements, err := list[string](ctx, a.db, `WITH t AS (SELECT oid, relowner, relacl FROM pg_class WHERE relnamespace = `+here+` AND relname = '`+prefix+`' || $2)
			SELECT s FROM (
				SELECT 0 AS n, pg_catalog.format('ALTER TABLE %I OWNER TO %I', $1::text, pg_get_userbyid(relowner)) AS s FROM t WHERE pg_get_userbyid(relowner) <> current_user
				UNION ALL SELECT 1, pg_catalog.format('GRANT %s ON %I TO %s%s', privilege_type, $1::text, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_get_userbyid(grantee)) END,
					CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
				FROM t, pg_catalog.aclexplode(relacl) WHERE grantee <> relowner AND ($1 <> '`+revisionsTable+`' OR privilege_type = 'SELECT')
				UNION ALL SELECT 2, pg_catalog.format('GRANT %s (%I) ON %I TO %s%s', privilege_type, attname, $1::text, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_get_userbyid(grantee)) END,
					CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
				FROM t JOIN pg_attribute ON attrelid = t.oid AND $1 = $2, pg_catalog.aclexplode(attacl) WHERE grantee <> relowner) all_of_them
			WHERE to_regclass(pg_catalog.quote_ident(pg_catalog.current_schema()) || '.' || $1) IS NOT NULL ORDER BY n, s`, pair[0], pair[1])
		if err != nil {
			return err
		}
		if err := execute(ctx, a.db, statements...); err != nil {
			return err
		}
	}
	return nil
}
