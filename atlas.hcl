# One environment per dialect, for every edition of the Atlas CLI:
#   atlas migrate diff NAME --env sqlite

# An empty PostgreSQL database for planning; without one, Docker starts it.
locals {
  dev_url = getenv("ATLAS_DEV_URL")
}

env "sqlite" {
  src = "file://ent/migrate/sqlite.sql"
  dev = "sqlite://dev?mode=memory&_fk=1"
  url = getenv("REVIEWPOINT_DB_URL")
  migration {
    dir = "file://schema/migrations/sqlite"
  }
  format {
    migrate {
      diff = "{{ sql . \"  \" }}"
    }
  }
}

env "postgres" {
  src = "file://ent/migrate/postgres.sql"
  dev = local.dev_url != "" ? local.dev_url : "docker://postgres/15/dev?search_path=public"
  url = getenv("REVIEWPOINT_DB_URL")
  migration {
    dir              = "file://schema/migrations/postgres"
    revisions_schema = "public"
  }
  format {
    migrate {
      diff = "{{ sql . \"  \" }}"
    }
  }
}
