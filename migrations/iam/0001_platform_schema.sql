-- IAM, the platform document's schema, inside a Supabase project's database. The source of truth
-- for users, roles and permissions.
--
-- Deviations from the document, each at its place below or in the migrations that follow:
--   * the document never closes its SQL block, so the prose after it ran into the code;
--   * "RLS policies … and others as needed" are missing there: complete in 0002;
--   * its admin policy reads user_roles directly, which recurses without end as soon as user_roles
--     has a policy of that kind: asked through a SECURITY DEFINER function instead (0002);
--   * its handle_new_user runs with the rights of whoever inserts into auth.users. On Supabase that
--     is a role without rights on schema public, and every sign-up would fail: SECURITY DEFINER;
--   * its functions leave search_path open, by which a caller could make them use other tables;
--   * uuid_generate_v4() is gen_random_uuid(), so the extension "uuid-ossp" is not needed;
--   * the default role that handle_new_user assigns is never created there: seeded below.

DO $$
BEGIN
  IF to_regclass('auth.users') IS NULL OR to_regprocedure('auth.uid()') IS NULL
     OR to_regrole('anon') IS NULL OR to_regrole('authenticated') IS NULL OR to_regrole('service_role') IS NULL THEN
    RAISE EXCEPTION 'this database has no Supabase Auth (auth.users, auth.uid(), roles anon, authenticated, service_role)'
      USING HINT = 'Migrate IAM inside the database of a Supabase project. For development, install the stand-in migrations/iam/shim/supabase.sql.';
  END IF;
END
$$;

-- User profile & settings: extend the auth.users table provided by Supabase Auth.
CREATE TABLE IF NOT EXISTS public.user_profiles (
  id UUID REFERENCES auth.users(id) ON DELETE CASCADE PRIMARY KEY,
  username TEXT UNIQUE,
  full_name TEXT,
  avatar_url TEXT,
  bio TEXT,
  website TEXT,
  email TEXT UNIQUE NOT NULL,
  role TEXT NOT NULL DEFAULT 'user', -- denormalized role name, the source of truth is user_roles
  is_verified BOOLEAN DEFAULT FALSE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP
);
COMMENT ON TABLE public.user_profiles IS 'One row per user: who they are. Created by the sign-up trigger. Personal data.';
COMMENT ON COLUMN public.user_profiles.id IS 'The user''s id (auth.users.id), everywhere on the platform.';
COMMENT ON COLUMN public.user_profiles.username IS 'Public handle; NULL if never chosen.';
COMMENT ON COLUMN public.user_profiles.full_name IS 'Name as the user wants to be addressed; NULL if never given.';
COMMENT ON COLUMN public.user_profiles.avatar_url IS 'Address of the profile picture.';
COMMENT ON COLUMN public.user_profiles.bio IS 'What the user wrote about themselves, plain text.';
COMMENT ON COLUMN public.user_profiles.website IS 'Address of the user''s own site.';
COMMENT ON COLUMN public.user_profiles.email IS 'E-mail address that notifications go to. An account without one cannot be created.';
COMMENT ON COLUMN public.user_profiles.role IS 'Name of the user''s main role, for display only; user_roles decides what the user may do.';
COMMENT ON COLUMN public.user_profiles.is_verified IS 'Whether the e-mail address has been confirmed.';
COMMENT ON COLUMN public.user_profiles.created_at IS 'When the profile was created (UTC).';
COMMENT ON COLUMN public.user_profiles.updated_at IS 'When the row last changed (UTC); kept by a trigger.';

CREATE TABLE IF NOT EXISTS public.user_settings (
  id UUID REFERENCES auth.users(id) ON DELETE CASCADE PRIMARY KEY,
  email_notifications BOOLEAN DEFAULT TRUE,
  marketing_emails BOOLEAN DEFAULT TRUE,
  theme TEXT DEFAULT 'system', -- e.g., 'light', 'dark', 'system'
  language TEXT DEFAULT 'en',
  created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP
);
COMMENT ON TABLE public.user_settings IS 'One row per user: preferences. Created by the sign-up trigger.';
COMMENT ON COLUMN public.user_settings.id IS 'The user''s id (auth.users.id).';
COMMENT ON COLUMN public.user_settings.email_notifications IS 'Whether the user wants notifications by e-mail at all.';
COMMENT ON COLUMN public.user_settings.marketing_emails IS 'Whether the user agreed to advertising by e-mail.';
COMMENT ON COLUMN public.user_settings.theme IS 'Colour scheme of the user interface: light, dark or system.';
COMMENT ON COLUMN public.user_settings.language IS 'Language the user reads, a BCP 47 tag such as pt-BR.';
COMMENT ON COLUMN public.user_settings.created_at IS 'When the row was created (UTC).';
COMMENT ON COLUMN public.user_settings.updated_at IS 'When the row last changed (UTC); kept by a trigger.';

-- The full subscription logic resides in the Billing Service; basic status for access control here.
CREATE TABLE IF NOT EXISTS public.user_subscriptions (
  id UUID DEFAULT gen_random_uuid() PRIMARY KEY,
  user_id UUID REFERENCES auth.users(id) ON DELETE CASCADE NOT NULL,
  plan_id TEXT NOT NULL,
  status TEXT NOT NULL, -- e.g., 'active', 'trialing', 'past_due'
  current_period_start TIMESTAMP WITH TIME ZONE,
  current_period_end TIMESTAMP WITH TIME ZONE,
  cancel_at_period_end BOOLEAN DEFAULT FALSE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP
);
COMMENT ON TABLE public.user_subscriptions IS
  'Copy of each user''s subscription status for access control, kept in step by billing''s events. The truth is in the billing database.';
COMMENT ON COLUMN public.user_subscriptions.id IS 'The subscription''s id in the billing service; random for rows made here.';
COMMENT ON COLUMN public.user_subscriptions.user_id IS 'Who holds the subscription.';
COMMENT ON COLUMN public.user_subscriptions.plan_id IS 'The plan, by billing''s id.';
COMMENT ON COLUMN public.user_subscriptions.status IS 'Status as billing names it, e.g. active, trialing, past_due.';
COMMENT ON COLUMN public.user_subscriptions.current_period_start IS 'Start of the paid period (UTC).';
COMMENT ON COLUMN public.user_subscriptions.current_period_end IS 'End of the paid period, exclusive (UTC).';
COMMENT ON COLUMN public.user_subscriptions.cancel_at_period_end IS 'Whether it ends with the period instead of renewing.';
COMMENT ON COLUMN public.user_subscriptions.created_at IS 'When the row was created (UTC).';
COMMENT ON COLUMN public.user_subscriptions.updated_at IS 'When the row last changed (UTC); kept by a trigger.';

CREATE TABLE IF NOT EXISTS public.user_sessions (
  id UUID DEFAULT gen_random_uuid() PRIMARY KEY,
  user_id UUID REFERENCES auth.users(id) ON DELETE CASCADE NOT NULL,
  device TEXT,
  ip_address TEXT,
  user_agent TEXT,
  last_active TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP
);
COMMENT ON TABLE public.user_sessions IS 'Optional list of a user''s active sessions. Personal data.';
COMMENT ON COLUMN public.user_sessions.id IS 'The session.';
COMMENT ON COLUMN public.user_sessions.user_id IS 'Whose session it is.';
COMMENT ON COLUMN public.user_sessions.device IS 'Device as the client names it.';
COMMENT ON COLUMN public.user_sessions.ip_address IS 'Network address of the client.';
COMMENT ON COLUMN public.user_sessions.user_agent IS 'The client''s User-Agent header.';
COMMENT ON COLUMN public.user_sessions.last_active IS 'Last request (UTC).';
COMMENT ON COLUMN public.user_sessions.created_at IS 'Start of the session (UTC).';

-- Roles and permissions.
CREATE TABLE IF NOT EXISTS public.roles (
  id SERIAL PRIMARY KEY,
  name TEXT UNIQUE NOT NULL, -- e.g., 'user', 'admin', 'creator', 'consultant'
  description TEXT,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP
);
COMMENT ON TABLE public.roles IS 'The platform''s roles.';
COMMENT ON COLUMN public.roles.id IS 'Number of the role.';
COMMENT ON COLUMN public.roles.name IS 'Its name in code and events: user, admin, creator, consultant.';
COMMENT ON COLUMN public.roles.description IS 'What the role is for.';
COMMENT ON COLUMN public.roles.created_at IS 'When the row was created (UTC).';

CREATE TABLE IF NOT EXISTS public.permissions (
  id SERIAL PRIMARY KEY,
  name TEXT UNIQUE NOT NULL, -- e.g., 'read:courses', 'update:own_profile'
  description TEXT,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP
);
COMMENT ON TABLE public.permissions IS 'Single things that a role may allow.';
COMMENT ON COLUMN public.permissions.id IS 'Number of the permission.';
COMMENT ON COLUMN public.permissions.name IS 'Its name in code, action:object, e.g. read:courses.';
COMMENT ON COLUMN public.permissions.description IS 'What it allows.';
COMMENT ON COLUMN public.permissions.created_at IS 'When the row was created (UTC).';

CREATE TABLE IF NOT EXISTS public.role_permissions (
  role_id INTEGER REFERENCES public.roles(id) ON DELETE CASCADE,
  permission_id INTEGER REFERENCES public.permissions(id) ON DELETE CASCADE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (role_id, permission_id)
);
COMMENT ON TABLE public.role_permissions IS 'Which role allows what.';
COMMENT ON COLUMN public.role_permissions.role_id IS 'The role.';
COMMENT ON COLUMN public.role_permissions.permission_id IS 'What it allows.';
COMMENT ON COLUMN public.role_permissions.created_at IS 'When it was given (UTC).';

CREATE TABLE IF NOT EXISTS public.user_roles (
  user_id UUID REFERENCES auth.users(id) ON DELETE CASCADE,
  role_id INTEGER REFERENCES public.roles(id) ON DELETE CASCADE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (user_id, role_id)
);
COMMENT ON TABLE public.user_roles IS 'Which user has which roles: the truth for authorization.';
COMMENT ON COLUMN public.user_roles.user_id IS 'The user.';
COMMENT ON COLUMN public.user_roles.role_id IS 'A role of theirs.';
COMMENT ON COLUMN public.user_roles.created_at IS 'When it was given (UTC).';

-- The document assigns the role 'user' at sign-up by name: without this row it assigns nothing.
INSERT INTO public.roles (name, description) VALUES
  ('user', 'Learner: the role that everyone has from sign-up on'),
  ('admin', 'Runs the platform; may read and change all data'),
  ('creator', 'Writes and publishes courses'),
  ('consultant', 'Offers consultations')
ON CONFLICT (name) DO NOTHING;

-- Automation.
CREATE OR REPLACE FUNCTION public.update_updated_at_column() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ''
AS $$
BEGIN
  NEW.updated_at = CURRENT_TIMESTAMP;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION public.update_updated_at_column() IS 'Keeps updated_at.';

CREATE OR REPLACE TRIGGER update_user_profiles_updated_at BEFORE UPDATE ON public.user_profiles
  FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
CREATE OR REPLACE TRIGGER update_user_settings_updated_at BEFORE UPDATE ON public.user_settings
  FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
CREATE OR REPLACE TRIGGER update_user_subscriptions_updated_at BEFORE UPDATE ON public.user_subscriptions
  FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();

CREATE OR REPLACE FUNCTION public.handle_new_user() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
  INSERT INTO public.user_profiles (id, email, username, full_name)
  VALUES (NEW.id, NEW.email, NEW.raw_user_meta_data->>'username', NEW.raw_user_meta_data->>'full_name');

  INSERT INTO public.user_settings (id) VALUES (NEW.id);

  INSERT INTO public.user_roles (user_id, role_id)
  SELECT NEW.id, r.id FROM public.roles r WHERE r.name = 'user';

  RETURN NEW;
END
$$;
COMMENT ON FUNCTION public.handle_new_user() IS
  'On sign-up: creates the user''s profile and settings and assigns the role user, in the transaction of the sign-up.';

CREATE OR REPLACE TRIGGER on_auth_user_created AFTER INSERT ON auth.users
  FOR EACH ROW EXECUTE FUNCTION public.handle_new_user();
