-- DEVELOPMENT AND TESTS ONLY. Stands in for what Supabase provides, so that the IAM schema can be
-- built on a plain PostgreSQL: schema auth with users and uid(), and the three API roles.
--
-- Not a migration (it has no version) and never applied where a real auth.users exists. In staging
-- and production its absence is an error, because users without Supabase Auth cannot sign in.
-- Safe to repeat.

DO $$
DECLARE
  -- Only a superuser can hand out BYPASSRLS, which Supabase's service_role has.
  bypass text := CASE WHEN (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN 'BYPASSRLS' ELSE '' END;
BEGIN
  IF to_regrole('anon') IS NULL THEN
    CREATE ROLE anon NOLOGIN;
  END IF;
  IF to_regrole('authenticated') IS NULL THEN
    CREATE ROLE authenticated NOLOGIN;
  END IF;
  IF to_regrole('service_role') IS NULL THEN
    EXECUTE 'CREATE ROLE service_role NOLOGIN ' || bypass;
  END IF;
END
$$;

CREATE SCHEMA IF NOT EXISTS auth;
COMMENT ON SCHEMA auth IS 'LearnExpert development stand-in for Supabase Auth';

CREATE TABLE IF NOT EXISTS auth.users (
  id uuid PRIMARY KEY,
  email text,
  phone text,
  raw_user_meta_data jsonb,
  created_at timestamptz DEFAULT now()
);
COMMENT ON TABLE auth.users IS 'Accounts: the columns of Supabase''s auth.users that the IAM schema reads.';
COMMENT ON COLUMN auth.users.id IS 'The user''s id, everywhere on the platform.';
COMMENT ON COLUMN auth.users.email IS 'E-mail address.';
COMMENT ON COLUMN auth.users.phone IS 'Phone number: digits with country code, no plus sign.';
COMMENT ON COLUMN auth.users.raw_user_meta_data IS 'What the sign-up form passed: username, full_name, language, time_zone.';
COMMENT ON COLUMN auth.users.created_at IS 'When the account was created (UTC).';

-- As Supabase defines it: the subject of the request's token, NULL without one.
CREATE OR REPLACE FUNCTION auth.uid() RETURNS uuid
LANGUAGE sql STABLE
AS $$
  SELECT coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
  )::uuid
$$;
COMMENT ON FUNCTION auth.uid() IS 'Id of the user whose token accompanies the request; NULL without one.';

GRANT USAGE ON SCHEMA auth, public TO anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION auth.uid() TO anon, authenticated, service_role;
GRANT ALL ON auth.users TO service_role;

-- Supabase opens every new table and function of schema public to the API roles. Done here too:
-- what keeps users apart must then be row level security, as it is there.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
